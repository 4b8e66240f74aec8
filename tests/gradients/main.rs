//! Gradients against central differences: of every operation by itself and of whole blocks.

mod attention;
mod block;
mod check;
mod elementwise;
mod loss;
mod matmul;
mod norm;
mod torch;
mod train;
mod windows;
