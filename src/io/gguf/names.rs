//! The names that tensors have in GGUF files, and those of the families' own files.

use crate::io::Family;

/// An architecture as GGUF names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GgufArchitecture {
    /// Llama and Mistral, whose query and key rows are in another order.
    Llama,
    /// Qwen 2.
    Qwen2,
    /// Qwen 3.
    Qwen3,
    /// GPT-2, whose matrices are stored `[out, in]`.
    Gpt2,
    /// BitNet.
    Bitnet,
}

/// Names outside of blocks: in GGUF, in the family's files.
type Pairs = &'static [(&'static str, &'static str)];

const LLAMA_ENDS: Pairs = &[("token_embd", "model.embed_tokens"), ("output_norm", "model.norm"), ("output", "lm_head")];
const GPT2_ENDS: Pairs = &[
    ("token_embd", "transformer.wte"),
    ("position_embd", "transformer.wpe"),
    ("output_norm", "transformer.ln_f"),
    ("output", "lm_head"),
];
const LLAMA_BLOCK: Pairs = &[
    ("attn_norm", "input_layernorm"),
    ("attn_q", "self_attn.q_proj"),
    ("attn_k", "self_attn.k_proj"),
    ("attn_v", "self_attn.v_proj"),
    ("attn_output", "self_attn.o_proj"),
    ("attn_q_norm", "self_attn.q_norm"),
    ("attn_k_norm", "self_attn.k_norm"),
    ("attn_sub_norm", "self_attn.attn_sub_norm"),
    ("ffn_norm", "post_attention_layernorm"),
    ("ffn_gate", "mlp.gate_proj"),
    ("ffn_up", "mlp.up_proj"),
    ("ffn_down", "mlp.down_proj"),
    ("ffn_sub_norm", "mlp.ffn_sub_norm"),
];
const GPT2_BLOCK: Pairs = &[
    ("attn_norm", "ln_1"),
    ("attn_qkv", "attn.c_attn"),
    ("attn_output", "attn.c_proj"),
    ("ffn_norm", "ln_2"),
    ("ffn_up", "mlp.c_fc"),
    ("ffn_down", "mlp.c_proj"),
];

impl GgufArchitecture {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Llama, Self::Qwen2, Self::Qwen3, Self::Gpt2, Self::Bitnet];

    /// The name in the file.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Llama => "llama",
            Self::Qwen2 => "qwen2",
            Self::Qwen3 => "qwen3",
            Self::Gpt2 => "gpt2",
            Self::Bitnet => "bitnet",
        }
    }

    /// That of a family, if there is one.
    ///
    /// ```
    /// use bitsmith::io::{Family, GgufArchitecture};
    /// assert_eq!(GgufArchitecture::of(Family::Mistral), Some(GgufArchitecture::Llama));
    /// assert_eq!(GgufArchitecture::of(Family::Opt), None);
    /// ```
    pub const fn of(family: Family) -> Option<Self> {
        match family {
            Family::Llama | Family::Mistral => Some(Self::Llama),
            Family::Qwen2 => Some(Self::Qwen2),
            Family::Qwen3 => Some(Self::Qwen3),
            Family::Gpt2 => Some(Self::Gpt2),
            Family::Bitnet => Some(Self::Bitnet),
            Family::Opt => None,
        }
    }

    const fn tables(self) -> (Pairs, Pairs, &'static str) {
        match self {
            Self::Gpt2 => (GPT2_ENDS, GPT2_BLOCK, "transformer.h."),
            Self::Llama | Self::Qwen2 | Self::Qwen3 | Self::Bitnet => (LLAMA_ENDS, LLAMA_BLOCK, "model.layers."),
        }
    }

    /// The family's name of a tensor, from that in GGUF.
    ///
    /// ```
    /// use bitsmith::io::GgufArchitecture;
    /// let llama = GgufArchitecture::Llama;
    /// let (q, own) = ("blk.3.attn_q.weight", "model.layers.3.self_attn.q_proj.weight");
    /// assert_eq!(llama.family_name(q).as_deref(), Some(own));
    /// assert_eq!(llama.file_name(own).as_deref(), Some(q));
    /// assert_eq!(llama.family_name("blk.x.attn_q.weight"), None);
    /// ```
    pub fn family_name(self, name: &str) -> Option<String> {
        let (ends, block, root) = self.tables();
        let (path, part) = name.rsplit_once('.')?;
        let own = |pairs: Pairs, path: &str| pairs.iter().find(|(file, _)| *file == path).map(|(_, own)| *own);
        match path.strip_prefix("blk.") {
            None => Some(format!("{}.{part}", own(ends, path)?)),
            Some(rest) => {
                let (number, module) = rest.split_once('.').filter(|(number, _)| is_number(number))?;
                Some(format!("{root}{number}.{}.{part}", own(block, module)?))
            }
        }
    }

    /// The name of a tensor in GGUF, from the family's.
    pub fn file_name(self, name: &str) -> Option<String> {
        let (ends, block, root) = self.tables();
        // Files of the bare model leave the first part out.
        let first = root.split_once('.').map_or("", |(first, _)| first);
        let bare =
            |name: &'static str| name.strip_prefix(first).and_then(|rest| rest.strip_prefix('.')).unwrap_or(name);
        let (path, part) = name.rsplit_once('.')?;
        let path = path.strip_prefix(first).and_then(|rest| rest.strip_prefix('.')).unwrap_or(path);
        if let Some((file, _)) = ends.iter().find(|(_, own)| bare(own) == path) {
            return Some(format!("{file}.{part}"));
        }
        let (number, module) = path.strip_prefix(bare(root))?.split_once('.').filter(|(n, _)| is_number(n))?;
        let (file, _) = block.iter().find(|(_, own)| *own == module)?;
        Some(format!("blk.{number}.{file}.{part}"))
    }

    /// Whether the rows of a tensor, named as in GGUF, are in the order of interleaved rotary pairs; `true` in the second
    /// place for keys.
    pub fn is_rotated(self, name: &str) -> Option<bool> {
        let module = name.rsplit('.').nth(1)?;
        match (self, module) {
            (Self::Llama, "attn_q") => Some(false),
            (Self::Llama, "attn_k") => Some(true),
            _ => None,
        }
    }
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.len() < 10 && text.bytes().all(|b| b.is_ascii_digit())
}
