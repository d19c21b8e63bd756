//! The machine on which the figures were measured.

use std::fs;

/// Names the processor, its cores, and the memory.
pub(crate) fn describe() -> String {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let (processor, memory) = (read("/proc/cpuinfo"), read("/proc/meminfo"));
    let value = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        line.split_once(':').map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
    };
    let of_kind = |name| value(&processor, name);
    let memory = value(&memory, "MemTotal").trim_end_matches(" kB").parse::<u64>().unwrap_or_default();
    format!(
        "{} {} family {} model {}, {} cores, {} GB of memory, Linux {}",
        std::env::consts::ARCH,
        of_kind("model name"),
        of_kind("cpu family"),
        of_kind("model\t"),
        std::thread::available_parallelism().map_or(0, usize::from),
        memory.div_ceil(1024 * 1024),
        read("/proc/sys/kernel/osrelease").trim(),
    )
}
