//! What NVIDIA's management library tells of a GPU: its energy, how busy it is, the driver. The library comes with the
//! driver and is opened when it is asked; without it, or without the feature `nvml`, there is nothing to tell.
//! Owns the library's handle; `usage` asks.

#[cfg(not(feature = "nvml"))]
pub(super) use absent::{Gpu, driver};
#[cfg(feature = "nvml")]
pub(super) use present::{Gpu, driver};

#[cfg(feature = "nvml")]
mod present {
    use std::ffi::OsStr;
    use std::time::{SystemTime, UNIX_EPOCH};

    use nvml_wrapper::enum_wrappers::device::Sampling;
    use nvml_wrapper::enums::device::SampleValue;
    use nvml_wrapper::{Device, Nvml};

    /// The library's name where only the driver is installed.
    const LIBRARY: &str = "libnvidia-ml.so.1";

    /// A GPU and its counters at the beginning.
    pub(in super::super) struct Gpu {
        nvml: Nvml,
        address: String,
        millijoules: Option<u64>,
        /// Microseconds since 1970.
        began: u64,
    }

    impl Gpu {
        /// The GPU at a PCI address, from now; `None` where the library does not know it.
        pub(in super::super) fn at(address: &str) -> Option<Self> {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
            let mut gpu = Self {
                nvml: opened()?,
                address: address.into(),
                millijoules: None,
                began: now.as_micros() as u64,
            };
            gpu.millijoules = gpu.device()?.total_energy_consumption().ok();
            Some(gpu)
        }

        /// Since the beginning.
        pub(in super::super) fn joules(&self) -> Option<f64> {
            let now = self.device()?.total_energy_consumption().ok()?;
            Some(now.checked_sub(self.millijoules?)? as f64 / 1e3)
        }

        /// The mean of the driver's samples since the beginning: the share of the time in which a kernel ran.
        pub(in super::super) fn busy(&self) -> Option<f64> {
            let samples = self.device()?.samples(Sampling::GpuUtilization, self.began).ok()?;
            let percents: f64 = samples.iter().map(|sample| number(&sample.value)).sum();
            (!samples.is_empty()).then(|| percents / samples.len() as f64 / 100.0)
        }

        fn device(&self) -> Option<Device<'_>> {
            self.nvml.device_by_pci_bus_id(self.address.as_str()).ok()
        }
    }

    /// The driver's version.
    pub(in super::super) fn driver() -> Option<String> {
        opened()?.sys_driver_version().ok()
    }

    fn opened() -> Option<Nvml> {
        Nvml::builder().lib_path(OsStr::new(LIBRARY)).init().or_else(|_| Nvml::init()).ok()
    }

    fn number(value: &SampleValue) -> f64 {
        match *value {
            SampleValue::F64(number) => number,
            SampleValue::U32(number) => number.into(),
            SampleValue::U64(number) => number as f64,
            SampleValue::I64(number) => number as f64,
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn an_address_without_a_gpu_has_none() {
            assert!(Gpu::at("ffff:ff:1f.7").is_none());
        }
    }
}

#[cfg(not(feature = "nvml"))]
mod absent {
    /// Never made.
    pub(in super::super) enum Gpu {}

    impl Gpu {
        pub(in super::super) fn at(_address: &str) -> Option<Self> {
            None
        }

        pub(in super::super) fn joules(&self) -> Option<f64> {
            match *self {}
        }

        pub(in super::super) fn busy(&self) -> Option<f64> {
            match *self {}
        }
    }

    pub(in super::super) fn driver() -> Option<String> {
        None
    }
}
