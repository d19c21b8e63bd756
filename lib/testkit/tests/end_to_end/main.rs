//! The whole way on the local stack: the real template, deployed by `sam deploy`, running the real binaries with IAM
//! enforced. Started by `make test`.

mod round_trip;
