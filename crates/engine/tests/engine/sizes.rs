#[test]
fn sizes() {
    println!("Entry {}", monchero_engine::entry_size());
    println!("Row {} CheckStatus {} Incident {} Metric {} Definition {} ServiceResult {} Flapping {} Timestamp {} Option<Timestamp> {} Range {}",
        size_of::<monchero_engine::Row>(), size_of::<monchero_core::CheckStatus>(), size_of::<monchero_core::Incident>(), size_of::<monchero_core::Metric>(),
        size_of::<monchero_core::definition::Definition>(), size_of::<monchero_core::report::ServiceResult>(), size_of::<monchero_core::flapping::Flapping>(), size_of::<jiff::Timestamp>(), size_of::<Option<jiff::Timestamp>>(), size_of::<Option<monchero_core::Range>>());
}
