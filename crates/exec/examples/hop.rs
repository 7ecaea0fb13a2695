use std::time::{Duration, Instant};
use rustix::time::{ClockId, clock_gettime};
use tokio::sync::{mpsc, oneshot};
fn cpu() -> f64 { let t = clock_gettime(ClockId::ProcessCPUTime); t.tv_sec as f64 * 1e6 + t.tv_nsec as f64 / 1e3 }
fn main() {
    let (tx, mut rx) = mpsc::channel::<oneshot::Sender<()>>(1024);
    std::thread::spawn(move || {
        let rt = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build().unwrap();
        rt.block_on(async { while let Some(a) = rx.recv().await { tokio::spawn(async move { let _ = a.send(()); }); } });
    });
    let rt = tokio::runtime::Builder::new_current_thread().enable_time().enable_io().build().unwrap();
    for pause in [0u64, 9] {
        rt.block_on(async {
            let n = 300; let c = cpu(); let w = Instant::now();
            for _ in 0..n { let (a, b) = oneshot::channel(); tx.send(a).await.unwrap(); b.await.unwrap(); if pause > 0 { tokio::time::sleep(Duration::from_millis(pause)).await; } }
            println!("pause {pause}: {:.1} us cpu per hop, wall {:?}", (cpu() - c) / n as f64, w.elapsed() / n);
            let c = cpu();
            for _ in 0..n { if pause > 0 { tokio::time::sleep(Duration::from_millis(pause)).await; } }
            println!("pause {pause} alone: {:.1} us", (cpu() - c) / n as f64);
        });
    }
}
