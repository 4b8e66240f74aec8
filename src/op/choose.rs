//! Which variant runs: a pure function of what a device offers.

use crate::device::Caps;
use crate::kernel::part::Reduce;

/// How a workgroup reduces on this device.
pub fn reduce(caps: &Caps) -> Reduce {
    if caps.subgroups.is_some() { Reduce::Subgroup } else { Reduce::Shared }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table() {
        let portable = Caps::portable();
        assert_eq!(reduce(&portable), Reduce::Shared);
        assert_eq!(reduce(&Caps { subgroups: Some((32, 32)), ..portable }), Reduce::Subgroup);
    }
}
