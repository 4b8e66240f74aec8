//! GGUF files: bytes that the gguf package makes too, a file that it wrote, and files of ours through the program.

mod commands;
mod foreign;
mod layouts;
mod stages;
