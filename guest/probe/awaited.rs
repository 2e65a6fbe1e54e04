// SPDX-License-Identifier: GPL-2.0

//! Hooks at what a module has, which comes and goes with it: attached whenever it is there. Where it
//! has come and the hook can't be attached, the operator is told, as long as that is so.

use super::standing::Whose;
use crate::sys::{
    function::{
        Function,
        Handlers, //
    },
    module::Module,
    module_tracepoint,
    notifier::{
        Notifier,
        OnModule, //
    },
};
use kernel::{
    ffi::c_int,
    new_mutex,
    prelude::*,
    str::CString,
    sync::{
        Arc,
        Mutex, //
    },
};

/// A hook that is at its place whenever the module is there. Dropping it detaches it, and waits
/// until it runs nowhere.
pub(crate) struct Awaited {
    // First: nobody attaches it once more. Then nobody has to detach it.
    _comes: Notifier<Comes>,
    _goes: Notifier<Goes>,
    hook: Arc<Hook>,
}

/// Attaches a hook.
struct Comes(Arc<Hook>);

/// Detaches it.
struct Goes(Arc<Hook>);

/// What is attached.
enum Place {
    Tracepoint(module_tracepoint::Attached),
    Function(Handlers),
}

#[pin_data]
struct Hook {
    module: CString,
    /// What it is, "tracepoint" or "function", and its name.
    what: &'static str,
    name: CString,
    /// Of which point it is, unless it was attached by itself.
    whose: Option<Whose>,
    place: Place,
    /// Where it is at a function: that.
    #[pin]
    function: Mutex<Option<Function>>,
}

/// A hook of a module, before it is attached.
pub(crate) struct Spec {
    /// The module's name, and that of what it has.
    pub(crate) module: CString,
    pub(crate) name: CString,
    /// Of which point it is, if it is of one.
    pub(crate) whose: Option<Whose>,
}

impl Awaited {
    /// A handler at a tracepoint, which knows by itself when to be there. Process context.
    pub(crate) fn tracepoint(spec: Spec, tracepoint: module_tracepoint::Attached) -> Result<Self> {
        Self::new(spec, "tracepoint", Place::Tracepoint(tracepoint))
    }

    /// Handlers at a function. Process context. Fails only if the function is there.
    pub(crate) fn function(spec: Spec, handlers: Handlers) -> Result<Self> {
        let this = Self::new(spec, "function", Place::Function(handlers))?;
        match this.hook.attach() {
            Ok(()) | Err(ENOENT) => Ok(this),
            Err(e) => Err(e),
        }
    }

    fn new(spec: Spec, what: &'static str, place: Place) -> Result<Self> {
        let hook = Arc::pin_init(
            pin_init!(Hook {
                module: spec.module,
                what,
                name: spec.name,
                whose: spec.whose,
                place,
                function <- new_mutex!(None, "vesper_awaited"),
            }),
            GFP_KERNEL,
        )?;
        // Before there is anything to detach.
        let _goes = Notifier::on_module(Arc::new(Goes(hook.clone()), GFP_KERNEL)?)?;
        Ok(Self {
            _comes: Notifier::on_module(Arc::new(Comes(hook.clone()), GFP_KERNEL)?)?,
            _goes,
            hook,
        })
    }

    /// Says that it waits, unless it is attached. In the thread that loads the probe.
    pub(crate) fn say_if_waiting(&self) {
        if self.hook.is_attached() {
            return;
        }
        if let Some(whose) = &self.hook.whose {
            let (point, module): (_, &CStr) = (whose.point(), &self.hook.module);
            whose.say_first(fmt!(
                "point '{point}' waits for module {module}, which is not loaded or lacks it"
            ));
        }
        // It may have come meanwhile.
        if self.hook.is_attached() {
            self.hook.stands();
        }
    }
}

impl Drop for Awaited {
    fn drop(&mut self) {
        // Nobody is told of what ends with the probe.
        if let Some(whose) = &self.hook.whose {
            whose.forget();
        }
    }
}

impl Hook {
    fn is_attached(&self) -> bool {
        match &self.place {
            Place::Tracepoint(tracepoint) => tracepoint.is_attached(),
            Place::Function(_) => self.function.lock().is_some(),
        }
    }

    /// Puts it at its function, if it is for one and not there.
    fn attach(&self) -> Result {
        let Place::Function(handlers) = &self.place else {
            return Ok(());
        };
        let mut function = self.function.lock();
        if function.is_none() {
            *function = Some(handlers.attach_in(&self.module, &self.name)?);
        }
        Ok(())
    }

    /// It is where it should be.
    fn stands(&self) {
        if let Some(whose) = self.whose.as_ref().filter(|whose| whose.clear()) {
            let (module, point) = (whose.module(), whose.point());
            pr_info!("{module}: point '{point}' is attached now\n");
        }
    }

    fn fails(&self, error: Error) {
        let (what, module): (_, &CStr) = (self.what, &self.module);
        let name: &CStr = &self.name;
        let Some(whose) = &self.whose else {
            pr_warn!("{what} {module}:{name}: nothing is recorded there: {error:?}\n");
            return;
        };
        let point = whose.point();
        match error {
            ENOENT => whose.say(fmt!(
                "point '{point}' is not attached: module {module} came, and has no {what} {name}"
            )),
            EINVAL => whose.say(fmt!(
                "point '{point}' is not attached: module {module} came, and its {what} {name} can't be probed"
            )),
            e => whose.say(fmt!(
                "point '{point}' is not attached: module {module} came, but {what} {name}: {e:?}"
            )),
        }
    }
}

impl OnModule for Comes {
    // Behind kprobes, which take note of where in a module no probe may be, and jump labels.
    const PRIORITY: c_int = -1;

    fn coming(&self, module: &Module) -> Result {
        let hook = &self.0;
        if *module.name() == *hook.module {
            // Told when the module is there to stay.
            let _ = hook.attach();
        }
        Ok(())
    }

    fn live(&self, module: &Module) {
        let hook = &self.0;
        if *module.name() != *hook.module {
            return;
        }
        let attached = match &hook.place {
            Place::Tracepoint(tracepoint) => tracepoint.check(),
            Place::Function(_) => hook.attach(),
        };
        match attached {
            Ok(()) => hook.stands(),
            Err(e) => hook.fails(e),
        }
    }
}

impl OnModule for Goes {
    // Before kprobes and fprobes, which give up what is still in a module.
    const PRIORITY: c_int = 1;

    fn going(&self, module: &Module) {
        let hook = &self.0;
        if *module.name() != *hook.module {
            return;
        }
        let function = hook.function.lock().take();
        drop(function);
        if let Some(whose) = &hook.whose {
            let (point, module): (_, &CStr) = (whose.point(), &hook.module);
            whose.say(fmt!(
                "point '{point}' waits for module {module}, which went"
            ));
        }
    }
}
