//! Which device learns.

use candle_core::Device;

/// The `device` setting, read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceChoice {
    /// The processor, with the fused step.
    Cpu,
    /// A CUDA device by its number.
    Cuda(usize),
    /// CUDA device 0 where this build has CUDA and one answers, else the processor.
    Auto,
}

/// Reads `"cpu"`, `"cuda:N"` or `"auto"`.
///
/// ```
/// use skewd::model::{DeviceChoice, parse_device};
/// assert_eq!(parse_device("cuda:1"), Ok(DeviceChoice::Cuda(1)));
/// assert!(parse_device("gpu").is_err());
/// ```
///
/// # Errors
/// What may stand there instead.
pub fn parse_device(text: &str) -> Result<DeviceChoice, String> {
    let wrong = || format!("unknown device {text:?}: give \"cpu\", \"cuda:0\" or \"auto\"");
    match text {
        "cpu" => Ok(DeviceChoice::Cpu),
        "auto" => Ok(DeviceChoice::Auto),
        _ => {
            let number = text.strip_prefix("cuda:").ok_or_else(wrong)?;
            let digits = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
            let number = number.parse().ok().filter(|_| digits);
            number.map(DeviceChoice::Cuda).ok_or_else(wrong)
        }
    }
}

/// Opens the device; gives it and its plain name (`cpu`, `cuda:0`).
///
/// # Errors
/// When a CUDA device was asked for by number and this build or machine has none. `auto` never fails.
pub fn open_device(choice: &DeviceChoice) -> Result<(Device, String), String> {
    match choice {
        DeviceChoice::Cpu => Ok((Device::Cpu, "cpu".to_owned())),
        DeviceChoice::Cuda(number) => match cuda(*number) {
            Ok(device) => Ok((device, format!("cuda:{number}"))),
            Err(reason) => Err(format!("cannot open device cuda:{number}: {reason}")),
        },
        DeviceChoice::Auto => Ok(match cuda(0) {
            Ok(device) => (device, "cuda:0".to_owned()),
            Err(_) => (Device::Cpu, "cpu".to_owned()),
        }),
    }
}

fn cuda(number: usize) -> Result<Device, String> {
    if !cfg!(feature = "cuda") {
        return Err(
            "this build has no CUDA: build it with --features cuda, or set device = \"cpu\""
                .to_owned(),
        );
    }
    Device::new_cuda(number).map_err(|error| {
        // What follows the first line is a backtrace.
        let text = error.to_string();
        let reason = text.lines().next().unwrap_or("it does not answer");
        format!("{reason} (or set device = \"cpu\")")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_read_by_name() {
        assert_eq!(parse_device("cpu"), Ok(DeviceChoice::Cpu));
        assert_eq!(parse_device("auto"), Ok(DeviceChoice::Auto));
        assert_eq!(parse_device("cuda:12"), Ok(DeviceChoice::Cuda(12)));
        for wrong in [
            "",
            "CPU",
            "cuda",
            "cuda:",
            "cuda:-1",
            "cuda:+1",
            "cuda:x",
            "cuda:99999999999999999999999",
        ] {
            let reason = parse_device(wrong).unwrap_err();
            assert!(reason.contains("\"cuda:0\""), "{reason}");
        }
    }

    #[test]
    fn the_processor_always_opens_and_auto_never_fails() {
        assert_eq!(open_device(&DeviceChoice::Cpu).unwrap().1, "cpu");
        assert!(open_device(&DeviceChoice::Auto).is_ok());
    }

    #[cfg(not(feature = "cuda"))]
    #[test]
    fn a_build_without_cuda_says_how_to_get_it() {
        let reason = open_device(&DeviceChoice::Cuda(0)).unwrap_err();
        assert!(
            reason.contains("--features cuda") && reason.contains("device = \"cpu\""),
            "{reason}"
        );
        assert_eq!(open_device(&DeviceChoice::Auto).unwrap().1, "cpu");
    }
}
