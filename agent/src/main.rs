fn main() -> std::process::ExitCode {
    monchero::cli::main()
}
