//! Lambda's detection of recursive loops. A function that queues messages for itself is invoked at most 16 times in one
//! chain, unless its setting `RecursiveLoop` is `Allow`.
//!
//! Lambda counts the invocations of a chain in the `Lineage` part of the trace header. The function's SDK sends the header
//! with every call, SQS keeps it with the message (`AWSTraceHeader`), and Lambda finds it there again. AWS does not
//! document how it merges the lineages of a batch: this takes the longest chain of each function.

use std::collections::BTreeMap;

use signpost_core::fingerprint::fingerprint;

/// The number of invocations of a function in one chain, by a hash of its name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lineage(BTreeMap<String, u32>);

/// The most invocations of one function in one chain. Lambda "drops requests after exceeding 16 invocations".
pub const LONGEST_CHAIN: u32 = 16;

/// The name of the part in the trace header.
const PART: &str = "Lineage=";

impl Lineage {
    /// Reads a trace header, such as `Root=1-5759e988-bd862e3fe1be46a994272793;Lineage=1:a87bd80c:15`. A header without a
    /// lineage begins a chain.
    #[must_use]
    pub fn parse(header: &str) -> Self {
        let part = header.split(';').find_map(|part| part.trim().strip_prefix(PART)).unwrap_or_default();
        let counts = part.split('|').filter_map(|one| {
            let mut fields = one.split(':').rev();
            let (count, function) = (fields.next()?.parse().ok()?, fields.next()?);
            Some((function.to_owned(), count))
        });
        Self(counts.collect())
    }

    /// Returns the lineage that leads to one invocation for several messages.
    #[must_use]
    pub fn merged(self, other: Self) -> Self {
        let mut all = self.0;
        for (function, count) in other.0 {
            let longest = all.entry(function).or_default();
            *longest = count.max(*longest);
        }
        Self(all)
    }

    /// Returns how often the chain has invoked a function.
    #[must_use]
    pub fn count(&self, function: &str) -> u32 {
        self.0.get(&hash_of(function)).copied().unwrap_or_default()
    }

    /// Returns the lineage of an invocation of a function, with which everything is marked that the function sends; `None`
    /// if Lambda drops the invocation.
    #[must_use]
    pub fn invoke(&self, function: &str, may_loop: bool) -> Option<Self> {
        let count = self.count(function) + 1;
        let mut next = self.0.clone();
        next.insert(hash_of(function), count);
        (may_loop || count <= LONGEST_CHAIN).then_some(Self(next))
    }

    /// Returns the trace header.
    #[must_use]
    pub fn header(&self) -> String {
        let counts: Vec<_> = self.0.iter().map(|(function, count)| format!("1:{function}:{count}")).collect();
        let root = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=0";
        if counts.is_empty() { root.to_owned() } else { format!("{root};{PART}{}", counts.join("|")) }
    }
}

/// Returns whether the template lets a function loop.
///
/// # Panics
/// The template has no such function.
#[must_use]
pub fn may_loop(function: &str) -> bool {
    may_loop_in(include_str!("../../../template.yaml"), function)
}

fn may_loop_in(template: &str, function: &str) -> bool {
    let binary = format!("Binary: {function} }}");
    let (_, rest) = template.split_once(&binary).unwrap_or_else(|| panic!("template.yaml has no `{function}`"));
    // The properties of a function end with the next resource, after an empty line.
    let properties = rest.split("\n\n").next().unwrap_or_default();
    properties.lines().any(|line| line.trim_start().starts_with("RecursiveLoop: Allow"))
}

fn hash_of(function: &str) -> String {
    let [a, b, c, d, ..] = fingerprint([function]);
    format!("{:08x}", u32::from_be_bytes([a, b, c, d]))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Follows a chain of messages that a function sends to itself, and returns the number of invocations.
    fn chain(may_loop: bool, most: usize) -> usize {
        let mut header = Lineage::default().header();
        (0..most)
            .take_while(|_| match Lineage::parse(&header).invoke("deliver", may_loop) {
                Some(lineage) => {
                    header = lineage.header();
                    true
                }
                None => false,
            })
            .count()
    }

    #[test]
    fn a_function_without_the_setting_is_cut_after_sixteen_invocations() {
        assert_eq!(chain(false, 100), 16);
        assert_eq!(chain(true, 100), 100, "with the setting, it is not cut");
    }

    #[test]
    fn each_function_of_a_chain_is_counted_by_itself() {
        let mut lineage = Lineage::default();
        for round in 1..=LONGEST_CHAIN {
            lineage = lineage.invoke("deliver", false).unwrap().invoke("fanout", false).unwrap();
            lineage = Lineage::parse(&lineage.header());
            assert_eq!((lineage.count("deliver"), lineage.count("fanout")), (round, round));
        }
        assert_eq!(lineage.invoke("deliver", false), None);
        assert!(lineage.invoke("sweep", false).is_some(), "another function");
    }

    #[test]
    fn the_longest_chain_of_a_batch_counts() {
        let [long, short] = [15, 2].map(|count| Lineage::parse(&format!("Lineage=1:{}:{count}", hash_of("deliver"))));
        let merged = short.clone().merged(long).merged(short).merged(Lineage::default());
        assert_eq!(merged.count("deliver"), 15);
    }

    #[test]
    fn headers_of_aws_are_read() {
        let cases: [(&str, &[(&str, u32)]); 5] = [
            ("Root=1-5759e988-bd862e3fe1be46a994272793;Lineage=1:a87bd80c:15", &[("a87bd80c", 15)]),
            ("Lineage=a87bd80c:1|68fd508a:5|c512fbe3:2", &[("a87bd80c", 1), ("68fd508a", 5), ("c512fbe3", 2)]),
            ("Root=1-5759e988-bd862e3fe1be46a994272793;Sampled=0", &[]),
            ("Lineage=garbage", &[]),
            ("", &[]),
        ];
        for (header, counts) in cases {
            let expected = counts.iter().map(|(function, count)| ((*function).to_owned(), *count)).collect();
            assert_eq!(Lineage::parse(header), Lineage(expected), "{header}");
        }
    }

    #[test]
    fn the_template_decides_which_functions_may_loop() {
        let looping: Vec<_> = ["ingest", "fanout", "deliver", "sweep", "manage", "relay"]
            .into_iter()
            .filter(|one| may_loop(one))
            .collect();
        assert_eq!(looping, ["fanout", "deliver"], "the two that send messages which lead back to them");
        let template =
            include_str!("../../../template.yaml").replace("RecursiveLoop: Allow", "RecursiveLoop: Terminate");
        assert!(!may_loop_in(&template, "deliver") && !may_loop_in(&template, "fanout"));
    }
}
