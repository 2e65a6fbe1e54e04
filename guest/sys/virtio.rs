// SPDX-License-Identifier: GPL-2.0

//! virtio drivers and devices.
//!
//! C headers: [`include/linux/virtio.h`](srctree/include/linux/virtio.h),
//! [`include/linux/virtio_config.h`](srctree/include/linux/virtio_config.h)

use crate::bindings;
use core::{
    marker::PhantomPinned,
    pin::Pin,
    ptr, //
};
use kernel::{
    container_of,
    device,
    error::{
        from_result,
        to_result, //
    },
    ffi,
    prelude::*,
    sync::{
        Arc,
        ArcBorrow, //
    },
    transmute::FromBytes,
    types::Opaque, //
};

mod queue;

pub(crate) use queue::{
    Bell,
    Element,
    Found,
    Virtqueue, //
};

/// What a virtio driver does. One object serves every device that the driver is bound to.
pub(crate) trait Driver: Send + Sync + Sized + 'static {
    /// Name of the driver.
    const NAME: &'static CStr;

    /// A device is there. Ends with [`Device::ready`], or an error.
    fn probe(this: ArcBorrow<'_, Self>, device: &Device) -> Result;

    /// The device goes, or the driver does. Every [`Virtqueue`] of the device must be dropped.
    fn remove(this: ArcBorrow<'_, Self>, device: &Device);

    /// The machine is about to sleep: as [`Driver::remove`].
    fn freeze(this: ArcBorrow<'_, Self>, device: &Device) -> Result;

    /// The machine is back: as [`Driver::probe`].
    fn restore(this: ArcBorrow<'_, Self>, device: &Device) -> Result;

    /// The machine is about to go down or to start anew. The device stays; none of the others is
    /// called after this.
    fn shutdown(this: ArcBorrow<'_, Self>, device: &Device);

    /// The device has changed its configuration. Hard interrupt context.
    fn config_changed(this: ArcBorrow<'_, Self>);

    /// The device has used buffers of queue number `queue`. Hard interrupt context.
    fn used(this: ArcBorrow<'_, Self>, queue: u32);
}

/// A `struct virtio_device`.
///
/// # Invariants
///
/// It is bound to a driver that [`Registration`] registered, as long as the reference lives.
#[repr(transparent)]
pub(crate) struct Device(Opaque<bindings::virtio_device>);

impl Device {
    /// # Safety
    ///
    /// `vdev` is valid and bound to a driver that [`Registration`] registered, for all of `'a`.
    unsafe fn from_raw<'a>(vdev: *mut bindings::virtio_device) -> &'a Self {
        // SAFETY: `Device` is transparent, and the caller vouches for the pointer.
        // INVARIANT: The caller's promise.
        unsafe { &*vdev.cast() }
    }

    fn as_raw(&self) -> *mut bindings::virtio_device {
        self.0.get()
    }

    /// For messages that name the device.
    pub(crate) fn device(&self) -> &device::Device {
        // SAFETY: The device is valid as long as `self`, and its `dev` was initialised when it was
        // added to the bus.
        unsafe { device::Device::from_raw(&raw mut (*self.as_raw()).dev) }
    }

    /// Says whether the feature was negotiated. For a device feature: one of the driver's own only.
    pub(crate) fn has_feature(&self, bit: u32) -> bool {
        // SAFETY: The device is valid, by the type's invariants.
        unsafe { bindings::vesper_helper_virtio_has_feature(self.as_raw(), bit) }
    }

    /// Reads the configuration space from its start, in one piece. Process context.
    pub(crate) fn config<C: FromBytes + Zeroable>(&self) -> C {
        let mut config = C::zeroed();
        // SAFETY: The device is valid, by the type's invariants, and `config` is a local of the
        // size given, for which every content is valid.
        unsafe {
            bindings::vesper_helper_virtio_read_config(
                self.as_raw(),
                ptr::from_mut(&mut config).cast(),
                size_of::<C>() as u32,
            )
        };
        config
    }

    /// Resets the device once more, whatever state it is in. It must have no queues.
    pub(crate) fn reset(&self) {
        // SAFETY: The device is valid, by the type's invariants.
        unsafe { bindings::virtio_reset_device(self.as_raw()) };
    }

    /// Tells the device that the driver is set up (DRIVER_OK): from now on queues may be used.
    pub(crate) fn ready(&self) {
        // SAFETY: The device is valid, by the type's invariants.
        unsafe { bindings::vesper_helper_virtio_device_ready(self.as_raw()) };
    }
}

/// A registered driver. Dropping it unbinds every device and unregisters it.
///
/// # Invariants
///
/// `driver` is registered and its data do not move.
pub(crate) struct Registration<T: Driver> {
    inner: Pin<KBox<Inner<T>>>,
}

#[pin_data]
struct Inner<T: Driver> {
    #[pin]
    driver: Opaque<bindings::virtio_driver>,
    data: Arc<T>,
    #[pin]
    _pin: PhantomPinned,
}

// SAFETY: The registration may be dropped by another thread than the one that made it.
unsafe impl<T: Driver> Send for Registration<T> {}

// SAFETY: A shared registration gives access to nothing.
unsafe impl<T: Driver> Sync for Registration<T> {}

impl<T: Driver> Registration<T> {
    /// Registers a driver for the ids of the module's id table, and for the features given.
    pub(crate) fn new(
        module: &'static ThisModule,
        features: &'static [ffi::c_uint],
        data: Arc<T>,
    ) -> Result<Self> {
        let inner = KBox::pin_init(
            pin_init!(Inner {
                driver: Opaque::zeroed(),
                data,
                _pin: PhantomPinned,
            }),
            GFP_KERNEL,
        )?;
        let driver = inner.driver.get();
        // SAFETY: `driver` is valid and nobody else knows of it yet.
        unsafe {
            (*driver).driver.name = T::NAME.as_char_ptr();
            (*driver).id_table = bindings::vesper_helper_id_table();
            (*driver).feature_table = features.as_ptr();
            (*driver).feature_table_size = features.len() as u32;
            (*driver).probe = Some(probe::<T>);
            (*driver).remove = Some(remove::<T>);
            (*driver).config_changed = Some(config_changed::<T>);
            (*driver).freeze = Some(freeze::<T>);
            (*driver).restore = Some(restore::<T>);
            (*driver).shutdown = Some(shutdown::<T>);
        }
        // SAFETY: The driver is filled in, pinned, and stays until `drop` unregisters it.
        to_result(unsafe { bindings::__register_virtio_driver(driver, module.as_ptr()) })?;
        // INVARIANT: Just registered, and pinned.
        Ok(Self { inner })
    }
}

impl<T: Driver> Drop for Registration<T> {
    fn drop(&mut self) {
        // SAFETY: Registered, by the type's invariants.
        unsafe { bindings::unregister_virtio_driver(self.inner.driver.get()) };
    }
}

/// The data of the driver that a device is bound to.
///
/// # Safety
///
/// `vdev` is valid and bound to a driver that `Registration<T>` registered, for all of `'a`.
unsafe fn data<'a, T: Driver>(vdev: *mut bindings::virtio_device) -> ArcBorrow<'a, T> {
    // SAFETY: A bound device's `driver` points into the `virtio_driver` it is bound to.
    let driver = unsafe { (*vdev).dev.driver };
    // SAFETY: `driver` is the first field of `struct virtio_driver`, which is in an `Inner<T>`.
    let inner = unsafe {
        let driver = container_of!(driver, bindings::virtio_driver, driver);
        container_of!(Opaque::cast_from(driver), Inner<T>, driver)
    };
    // SAFETY: The driver stays registered, hence `Inner` allocated, while a device is bound.
    unsafe { &(*inner).data }.as_arc_borrow()
}

/// # Safety
///
/// Called by the virtio bus only, for a device that is bound to this driver.
unsafe extern "C" fn probe<T: Driver>(vdev: *mut bindings::virtio_device) -> ffi::c_int {
    from_result(|| {
        // SAFETY: The bus calls this for a device that it binds to this driver.
        let (data, device) = unsafe { (data::<T>(vdev), Device::from_raw(vdev)) };
        T::probe(data, device)?;
        Ok(0)
    })
}

/// # Safety
///
/// Called by the virtio bus only, for a device that is bound to this driver.
unsafe extern "C" fn remove<T: Driver>(vdev: *mut bindings::virtio_device) {
    // SAFETY: The bus calls this for a device that is bound to this driver, and stays so until the
    // call returns.
    let (data, device) = unsafe { (data::<T>(vdev), Device::from_raw(vdev)) };
    T::remove(data, device);
}

/// # Safety
///
/// Called by the virtio bus only, for a device that is bound to this driver.
unsafe extern "C" fn freeze<T: Driver>(vdev: *mut bindings::virtio_device) -> ffi::c_int {
    from_result(|| {
        // SAFETY: As in `remove`.
        let (data, device) = unsafe { (data::<T>(vdev), Device::from_raw(vdev)) };
        T::freeze(data, device)?;
        Ok(0)
    })
}

/// # Safety
///
/// Called by the virtio bus only, for a device that is bound to this driver.
unsafe extern "C" fn restore<T: Driver>(vdev: *mut bindings::virtio_device) -> ffi::c_int {
    from_result(|| {
        // SAFETY: As in `remove`.
        let (data, device) = unsafe { (data::<T>(vdev), Device::from_raw(vdev)) };
        T::restore(data, device)?;
        Ok(0)
    })
}

/// # Safety
///
/// Called by the virtio bus only, for a device that is bound to this driver.
unsafe extern "C" fn shutdown<T: Driver>(vdev: *mut bindings::virtio_device) {
    // SAFETY: As in `remove`.
    let (data, device) = unsafe { (data::<T>(vdev), Device::from_raw(vdev)) };
    T::shutdown(data, device);
}

/// # Safety
///
/// Called by the virtio core only, for a device that is bound to this driver.
unsafe extern "C" fn config_changed<T: Driver>(vdev: *mut bindings::virtio_device) {
    // SAFETY: As in `remove`.
    T::config_changed(unsafe { data::<T>(vdev) });
}

/// The `callback` of every virtqueue.
///
/// # Safety
///
/// Called by the virtio core only, for a queue that [`Device::find_vqs`] found.
unsafe extern "C" fn used<T: Driver>(vq: *mut bindings::virtqueue) {
    // SAFETY: The virtio core passes a live virtqueue of a device that is still bound: queues are
    // deleted before their device is unbound.
    let (data, index) = unsafe { (data::<T>((*vq).vdev), (*vq).index) };
    T::used(data, index);
}
