// SPDX-License-Identifier: GPL-2.0

//! A virtio device that is software of this kernel: the transport's side.
//!
//! C headers: [`include/linux/virtio_config.h`](srctree/include/linux/virtio_config.h),
//! [`include/linux/virtio_ring.h`](srctree/include/linux/virtio_ring.h)

use super::vring::Ring;
use crate::bindings;
use core::{
    marker::PhantomData,
    ptr::NonNull,
    slice, //
};
use kernel::{
    error::{
        from_err_ptr,
        from_result,
        to_result, //
    },
    ffi::{
        c_char,
        c_int,
        c_uint,
        c_void, //
    },
    prelude::*,
    sync::Arc, //
};

/// Number of queues.
pub(crate) const QUEUES: usize = bindings::VIRTIO_VESPER_VQ_MAX as usize;

/// What a device does. All but [`Device::kicked`] is called in process context.
pub(crate) trait Device: Send + Sync + 'static {
    /// For each queue its entries, and parts that an element may have.
    const SHAPES: [(u16, usize); QUEUES];

    /// Features that it offers.
    const FEATURES: u64;

    /// Configuration space.
    fn config(&self) -> &[u8];

    /// Status, `VIRTIO_CONFIG_S_*`. Any context.
    fn status(&self) -> u8;

    /// The driver sets the status.
    fn set_status(&self, status: u8);

    /// The driver resets it: it touches no queue, and calls nobody back, until it is told to begin
    /// anew.
    fn reset(&self);

    /// These are its queues.
    fn set_queues(&self, rings: [Ring; QUEUES]);

    /// They are about to go.
    fn drop_queues(&self);

    /// The driver has put something on a queue. Any context, that of a panic included.
    fn kicked(&self, queue: u32);
}

/// A registered device. Dropping it unregisters, and takes it from its driver.
///
/// # Invariants
///
/// `vdev` was made by `vesper_helper_virtio_alloc`; its `priv` is what `device` refers to.
pub(crate) struct Registration<T: Device> {
    vdev: NonNull<bindings::virtio_device>,
    _device: Arc<T>,
}

// SAFETY: A device may be unregistered from any thread.
unsafe impl<T: Device> Send for Registration<T> {}
// SAFETY: There are no methods.
unsafe impl<T: Device> Sync for Registration<T> {}

impl<T: Device> Registration<T> {
    /// Registers `device`. If there is a driver, it has taken it when this returns, or refused.
    pub(crate) fn new(device: Arc<T>) -> Result<Self> {
        // SAFETY: No requirements.
        let vdev = from_err_ptr(unsafe { bindings::vesper_helper_virtio_alloc() })?;
        // SAFETY: Valid, and nobody else knows of it yet. The reference is kept beside it, until
        // nobody knows of it any more.
        unsafe {
            (*vdev).config = &Vtable::<T>::OPS;
            (*vdev).priv_ = Arc::as_ptr(&device).cast_mut().cast();
        }
        // SAFETY: Filled in, and stays where it is until `vesper_helper_virtio_free`.
        if let Err(err) = to_result(unsafe { bindings::register_virtio_device(vdev) }) {
            // SAFETY: So it wants to be given up: the reference is put, then it is freed.
            unsafe {
                bindings::put_device(&raw mut (*vdev).dev);
                bindings::vesper_helper_virtio_free(vdev);
            }
            return Err(err);
        }
        // INVARIANT: As above.
        Ok(Self {
            vdev: NonNull::new(vdev).ok_or(ENOMEM)?,
            _device: device,
        })
    }
}

impl<T: Device> Drop for Registration<T> {
    fn drop(&mut self) {
        // SAFETY: Registered, by the type's invariants, and freed once.
        unsafe {
            bindings::unregister_virtio_device(self.vdev.as_ptr());
            bindings::vesper_helper_virtio_free(self.vdev.as_ptr());
        }
    }
}

struct Vtable<T>(PhantomData<T>);

impl<T: Device> Vtable<T> {
    const OPS: bindings::virtio_config_ops = bindings::virtio_config_ops {
        get: Some(Self::get),
        get_status: Some(Self::get_status),
        set_status: Some(Self::set_status),
        reset: Some(Self::reset),
        find_vqs: Some(Self::find_vqs),
        del_vqs: Some(Self::del_vqs),
        get_features: Some(Self::get_features),
        finalize_features: Some(Self::finalize_features),
        bus_name: Some(Self::bus_name),
        ..pin_init::zeroed()
    };

    /// # Safety
    ///
    /// `vdev` is that of a `Registration<T>`, which exists for all of `'a`.
    unsafe fn device<'a>(vdev: *mut bindings::virtio_device) -> &'a T {
        // SAFETY: `Registration::new` put it there, and holds a reference.
        unsafe { &*(*vdev).priv_.cast_const().cast::<T>() }
    }

    /// # Safety
    ///
    /// Called by the virtio core for a device of a `Registration<T>`.
    unsafe extern "C" fn get(
        vdev: *mut bindings::virtio_device,
        offset: c_uint,
        buf: *mut c_void,
        len: c_uint,
    ) {
        // SAFETY: By the requirement of this function.
        let config = unsafe { Self::device(vdev) }.config();
        // SAFETY: The caller's buffer, of which nothing is read.
        let to = unsafe { slice::from_raw_parts_mut(buf.cast::<u8>(), len as usize) };
        to.fill(0);
        for (to, from) in to.iter_mut().zip(config.iter().skip(offset as usize)) {
            *to = *from;
        }
    }

    /// # Safety
    ///
    /// As for `get`.
    unsafe extern "C" fn get_status(vdev: *mut bindings::virtio_device) -> u8 {
        // SAFETY: By the requirement of this function.
        unsafe { Self::device(vdev) }.status()
    }

    /// # Safety
    ///
    /// As for `get`.
    unsafe extern "C" fn set_status(vdev: *mut bindings::virtio_device, status: u8) {
        // SAFETY: By the requirement of this function.
        unsafe { Self::device(vdev) }.set_status(status);
    }

    /// # Safety
    ///
    /// As for `get`.
    unsafe extern "C" fn reset(vdev: *mut bindings::virtio_device) {
        // SAFETY: By the requirement of this function.
        unsafe { Self::device(vdev) }.reset();
    }

    /// # Safety
    ///
    /// As for `get`, with `count` entries at `vqs` and `info`.
    unsafe extern "C" fn find_vqs(
        vdev: *mut bindings::virtio_device,
        count: c_uint,
        vqs: *mut *mut bindings::virtqueue,
        info: *mut bindings::virtqueue_info,
        _affinity: *mut bindings::irq_affinity,
    ) -> c_int {
        from_result(|| {
            if count as usize != QUEUES {
                return Err(ENOENT);
            }
            // SAFETY: By the requirement of this function.
            let (vqs, info) = unsafe {
                (
                    slice::from_raw_parts_mut(vqs, QUEUES),
                    slice::from_raw_parts(info, QUEUES),
                )
            };
            let mut found: [Option<Ring>; QUEUES] = [const { None }; QUEUES];
            let mut find = || -> Result {
                for (index, slot) in found.iter_mut().enumerate() {
                    let (size, parts) = T::SHAPES[index];
                    // SAFETY: By the requirement of this function; the functions are such as the
                    // virtio core calls, and the name is the driver's.
                    let vq = unsafe {
                        bindings::vesper_helper_vq_create(
                            vdev,
                            index as c_uint,
                            size.into(),
                            Some(Self::notify),
                            info[index].callback,
                            info[index].name,
                        )
                    };
                    vqs[index] = vq;
                    // SAFETY: Just made; `del_vqs` has the device drop its rings first, and so does
                    // the failure below.
                    let ring = unsafe { Ring::new(NonNull::new(vq).ok_or(ENOMEM)?, parts) };
                    *slot = Some(ring?);
                }
                Ok(())
            };
            let result = find();
            if let (Ok(()), [Some(a), Some(b), Some(c), Some(d)]) =
                (&result, found.each_mut().map(Option::take))
            {
                // SAFETY: By the requirement of this function.
                unsafe { Self::device(vdev) }.set_queues([a, b, c, d]);
                return Ok(0);
            }
            // SAFETY: No ring is left of them.
            unsafe { bindings::vesper_helper_vqs_delete(vdev) };
            result.and(Err(ENOMEM))
        })
    }

    /// # Safety
    ///
    /// As for `get`.
    unsafe extern "C" fn del_vqs(vdev: *mut bindings::virtio_device) {
        // SAFETY: By the requirement of this function. The device has no rings after this.
        unsafe {
            Self::device(vdev).drop_queues();
            bindings::vesper_helper_vqs_delete(vdev);
        }
    }

    /// # Safety
    ///
    /// As for `get`.
    unsafe extern "C" fn get_features(_vdev: *mut bindings::virtio_device) -> u64 {
        T::FEATURES
    }

    /// # Safety
    ///
    /// As for `get`.
    unsafe extern "C" fn finalize_features(vdev: *mut bindings::virtio_device) -> c_int {
        // SAFETY: By the requirement of this function.
        let there = unsafe {
            bindings::vring_transport_features(vdev);
            // Without these, what is on a queue is not what the rings here expect.
            bindings::vesper_helper_virtio_has_feature(vdev, bindings::VIRTIO_F_VERSION_1)
                && bindings::vesper_helper_virtio_has_feature(
                    vdev,
                    bindings::VIRTIO_F_ACCESS_PLATFORM,
                )
        };
        match there {
            true => 0,
            false => EINVAL.to_errno(),
        }
    }

    /// # Safety
    ///
    /// As for `get`.
    unsafe extern "C" fn bus_name(_vdev: *mut bindings::virtio_device) -> *const c_char {
        c"vesper_local".as_char_ptr()
    }

    /// # Safety
    ///
    /// Called by the virtio core for a queue that `find_vqs` made.
    unsafe extern "C" fn notify(vq: *mut bindings::virtqueue) -> bool {
        // SAFETY: By the requirement of this function: the device is that of a `Registration<T>`.
        let (device, index) = unsafe { (Self::device((*vq).vdev), (*vq).index) };
        device.kicked(index);
        true
    }
}
