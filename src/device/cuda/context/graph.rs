//! Launches that the driver keeps, in order, and starts with one call.
//!
//! Nodes are added one by one, not captured from the stream: their handles are wanted, so that later only those launches
//! are told to the driver that differ. It lets all of a kernel node be changed but the context, copies the arguments when
//! they are set, and says that launches already in the stream are not affected. Two launches of one graph run in the order
//! of the stream. Graphs are not to be used by two threads at once, which `&mut` sees to.
#![allow(unsafe_code, reason = "calls of the driver's C functions")]

use std::ffi::c_int;
use std::ptr::null_mut;
use std::sync::Arc;

use cudarc::driver::sys::{CUDA_KERNEL_NODE_PARAMS_v2_st, CUgraph, CUgraphExec, CUgraphNode};

use super::{Context, Launch};
use crate::device::cuda::driver::GraphFunctions;
use crate::error::Result;

/// A chain of launches.
#[derive(Debug)]
pub(in crate::device::cuda) struct Graph {
    context: Arc<Context>,
    /// Kept as long as what was made from it: its nodes name those of the other.
    graph: CUgraph,
    executable: CUgraphExec,
    nodes: Vec<CUgraphNode>,
    /// What the nodes do, and the modules that they run in.
    launches: Vec<Launch>,
}

// SAFETY: as for the context; one thread at a time has the graph.
unsafe impl Send for Graph {}

impl Graph {
    /// A graph of these launches, or nothing where the driver has none.
    pub(in crate::device::cuda) fn new(context: &Arc<Context>, launches: &[Launch]) -> Result<Option<Self>> {
        let Some(functions) = context.driver.graphs else { return Ok(None) };
        let (context, launches) = (context.clone(), launches.to_vec());
        // From here on what exists is destroyed with it.
        let mut made =
            Self { context, graph: null_mut(), executable: null_mut(), nodes: Vec::new(), launches: Vec::new() };
        let context = &made.context;
        // SAFETY: the pointer is valid while the call lasts.
        context.call("cuGraphCreate", |_| unsafe { (functions.cuGraphCreate)(&raw mut made.graph, 0) })?;
        for launch in &launches {
            let (before, mut node) = (made.nodes.last().copied(), null_mut());
            context.node("cuGraphAddKernelNode", launch, |params| {
                let count = usize::from(before.is_some());
                // SAFETY: the graph and the node before are alive, pointers are valid while the call lasts.
                unsafe {
                    (functions.cuGraphAddKernelNode_v2)(
                        &raw mut node,
                        made.graph,
                        before.as_ref().map_or(std::ptr::null(), std::ptr::from_ref),
                        count,
                        params,
                    )
                }
            })?;
            made.nodes.push(node);
        }
        // SAFETY: the graph is alive, the pointer is valid while the call lasts.
        context.call("cuGraphInstantiate", |_| unsafe {
            (functions.cuGraphInstantiateWithFlags)(&raw mut made.executable, made.graph, 0)
        })?;
        made.launches = launches;
        Ok(Some(made))
    }

    /// Appends these launches, as many of the same functions as the graph was made of.
    pub(in crate::device::cuda) fn launch(&mut self, launches: &[Launch]) -> Result<()> {
        let Some(functions) = self.context.driver.graphs else { return Ok(()) };
        let (context, executable) = (&self.context, self.executable);
        for ((node, kept), launch) in self.nodes.iter().zip(&mut self.launches).zip(launches) {
            if !kept.is(launch) {
                // SAFETY: the node is in the graph that the executable one was made of; both are alive.
                context.node("cuGraphExecKernelNodeSetParams", launch, |params| unsafe {
                    (functions.cuGraphExecKernelNodeSetParams_v2)(executable, *node, params)
                })?;
                kept.clone_from(launch);
            }
        }
        // SAFETY: graph and stream are alive.
        context.call("cuGraphLaunch", |_| unsafe { (functions.cuGraphLaunch)(executable, context.stream) })
    }
}

impl Context {
    /// Calls the driver with a launch as a node takes it; the driver copies the arguments before it returns.
    fn node(
        &self,
        name: &str,
        launch: &Launch,
        call: impl FnOnce(*const CUDA_KERNEL_NODE_PARAMS_v2_st) -> c_int,
    ) -> Result<()> {
        let mut arguments = self.arguments(launch)?;
        let params = CUDA_KERNEL_NODE_PARAMS_v2_st {
            func: launch.function.function,
            gridDimX: launch.grid[0],
            gridDimY: launch.grid[1],
            gridDimZ: launch.grid[2],
            blockDimX: launch.block,
            blockDimY: 1,
            blockDimZ: 1,
            sharedMemBytes: launch.shared,
            kernelParams: arguments.as_mut_ptr(),
            extra: null_mut(),
            kern: null_mut(),
            ctx: self.context,
        };
        self.call(name, |_| call(&raw const params))
    }
}

impl Drop for Graph {
    fn drop(&mut self) {
        let Some(GraphFunctions { cuGraphExecDestroy, cuGraphDestroy, .. }) = self.context.driver.graphs else {
            return;
        };
        // A launch may still be under way. After a loss there is nothing to destroy.
        if self.context.synchronize().is_ok() {
            if !self.executable.is_null() {
                // SAFETY: made by us, and nothing uses it any more.
                let _ = self.context.call("cuGraphExecDestroy", |_| unsafe { cuGraphExecDestroy(self.executable) });
            }
            if !self.graph.is_null() {
                // SAFETY: as above.
                let _ = self.context.call("cuGraphDestroy", |_| unsafe { cuGraphDestroy(self.graph) });
            }
        }
    }
}
