//! `config.json`: what each family means, and what is refused.

use bitsmith::Activation;
use bitsmith::Error;
use bitsmith::io::{Architecture, Family, LlamaConfig, ModelConfig, RopeScaling, is_conv1d};
use serde_json::{Value, json};

use crate::refused;

fn base() -> Value {
    json!({
        "model_type": "llama", "hidden_size": 64, "intermediate_size": 172, "num_hidden_layers": 5,
        "num_attention_heads": 8, "num_key_value_heads": 4, "vocab_size": 512, "max_position_embeddings": 512,
        "rms_norm_eps": 1e-5, "hidden_act": "silu", "bos_token_id": 1, "eos_token_id": 2,
    })
}

/// The base configuration with some fields changed; the value `"absent"` removes one.
fn with(changes: Value) -> Value {
    let mut config = base();
    for (key, value) in changes.as_object().unwrap() {
        if value == "absent" {
            config.as_object_mut().unwrap().remove(key);
        } else {
            config[key] = value.clone();
        }
    }
    config
}

fn read(changes: Value) -> bitsmith::Result<ModelConfig> {
    ModelConfig::parse("config.json".as_ref(), &with(changes).to_string()).map(|(config, _)| config)
}

/// What the base configuration, changed, has of the Llama family.
fn llama(changes: Value) -> LlamaConfig {
    own(&read(changes).unwrap())
}

fn own(config: &ModelConfig) -> LlamaConfig {
    let Architecture::Llama(own) = &config.architecture else { panic!("not of the Llama family: {config:?}") };
    own.clone()
}

#[test]
fn bitnet_and_its_defaults() {
    let bitnet = |changes: Value| {
        let mut all = json!({"model_type": "bitnet"});
        all.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        read(all).unwrap()
    };
    let config = bitnet(json!({"hidden_act": "absent", "rms_norm_eps": "absent"}));
    assert_eq!((config.family, config.hidden_act, config.norm_eps), (Family::Bitnet, Activation::ReluSquared, 1e-5));
    let parts = own(&config);
    assert!(parts.sub_norms && !parts.qk_norm && !parts.qkv_bias && !parts.o_bias && !parts.mlp_bias);
    assert_eq!((parts.rope.theta, parts.window(0)), (500_000.0, None));
    assert_eq!(bitnet(json!({"hidden_act": "silu"})).hidden_act, Activation::Silu);
    let parts = own(&bitnet(json!({"attention_bias": true, "mlp_bias": true, "rope_theta": 1e4})));
    assert!(parts.qkv_bias && parts.o_bias && !parts.mlp_bias);
    assert_eq!(parts.rope.theta, 1e4);
    assert!(!llama(json!({})).sub_norms);
}

#[test]
fn llama_and_its_defaults() {
    let config = read(json!({})).unwrap();
    assert_eq!((config.family, config.head_dim, config.num_key_value_heads), (Family::Llama, 8, 4));
    let own = own(&config);
    assert_eq!((own.rope.theta, own.rope.scaling), (10_000.0, RopeScaling::None));
    assert!(!(config.tie_word_embeddings || own.qkv_bias || own.o_bias || own.mlp_bias || own.qk_norm));
    assert_eq!((config.bos_token_id, config.eos_token_ids.as_slice(), config.context()), (Some(1), &[2][..], 512));

    let config = read(json!({"num_key_value_heads": "absent", "head_dim": 16, "eos_token_id": [2, 3]})).unwrap();
    assert_eq!((config.num_key_value_heads, config.head_dim), (8, 16));
    assert_eq!(config.eos_token_ids, [2, 3]);
    let config = llama(json!({"attention_bias": true, "mlp_bias": true, "head_dim": null}));
    assert!(config.qkv_bias && config.o_bias && config.mlp_bias);
}

#[test]
fn the_other_families() {
    let mistral = json!({"model_type": "mistral", "sliding_window": 100});
    assert_eq!(read(mistral.clone()).unwrap().context(), 512);
    let mistral = llama(mistral);
    assert_eq!((mistral.sliding_window, mistral.window(0)), (Some(100), Some(100)));
    assert_eq!(llama(json!({"model_type": "mistral", "sliding_window": null})).sliding_window, None);
    assert_eq!(llama(json!({"model_type": "mistral"})).sliding_window, Some(4096));

    let qwen = llama(json!({"model_type": "qwen2", "sliding_window": 100, "use_sliding_window": false}));
    assert_eq!((qwen.qkv_bias, qwen.o_bias, qwen.qk_norm, qwen.sliding_window), (true, false, false, None));
    let qwen = llama(json!({"model_type": "qwen2", "sliding_window": 100, "use_sliding_window": true}));
    assert_eq!((qwen.sliding_window, qwen.window(0)), (Some(100), None), "28 layers come before the first window");
    let qwen = llama(json!({"model_type": "qwen2", "sliding_window": 9, "use_sliding_window": true,
        "max_window_layers": 2}));
    assert_eq!((qwen.window(1), qwen.window(2), qwen.window(4)), (None, Some(9), Some(9)));
    let (full, sliding) = ("full_attention", "sliding_attention");
    let listed = json!({"model_type": "qwen3", "sliding_window": 9, "use_sliding_window": true,
        "max_window_layers": 0, "layer_types": [full, sliding, full, full, sliding]});
    let qwen = llama(listed);
    assert_eq!((0..5).filter(|i| qwen.window(*i).is_some()).collect::<Vec<_>>(), [1, 4]);

    let qwen = read(json!({"model_type": "qwen3"})).unwrap();
    let parts = own(&qwen);
    assert_eq!((parts.qkv_bias, parts.qk_norm, qwen.head_dim), (false, true, 128));
    assert_eq!(read(json!({"model_type": "smollm"})).unwrap().family, Family::Llama);
}

/// A configuration as its family writes it, with some fields changed.
fn family(name: &str, changes: &Value) -> bitsmith::Result<ModelConfig> {
    let mut config = match name {
        "opt" => json!({"model_type": "opt", "hidden_size": 1024, "word_embed_proj_dim": 512, "ffn_dim": 4096,
            "num_hidden_layers": 24, "num_attention_heads": 16, "vocab_size": 50272, "max_position_embeddings": 2048,
            "bos_token_id": 2, "eos_token_id": 2, "do_layer_norm_before": false}),
        _ => {
            json!({"model_type": "gpt2", "n_embd": 768, "n_layer": 12, "n_head": 12, "n_positions": 1024, "n_ctx": 1024,
            "vocab_size": 50257, "layer_norm_epsilon": 1e-5, "bos_token_id": 50256, "eos_token_id": 50256})
        }
    };
    for (key, value) in changes.as_object().unwrap() {
        config[key] = value.clone();
    }
    ModelConfig::parse("config.json".as_ref(), &config.to_string()).map(|(config, _)| config)
}

#[test]
fn opt_and_gpt2() {
    let config = family("opt", &json!({})).unwrap();
    assert_eq!((config.family, config.head_dim, config.intermediate_size), (Family::Opt, 64, 4096));
    assert_eq!((config.hidden_act, config.norm_eps, config.tie_word_embeddings), (Activation::Relu, 1e-5, true));
    let Architecture::Opt(own) = config.architecture else { panic!("no OPT") };
    assert_eq!((own.word_embed_proj_dim, own.do_layer_norm_before, own.final_layer_norm), (512, false, false));
    assert!(own.norm_affine && own.enable_bias);
    let changes = json!({"do_layer_norm_before": null, "word_embed_proj_dim": null, "enable_bias": false,
        "layer_norm_elementwise_affine": false});
    let Architecture::Opt(own) = family("opt", &changes).unwrap().architecture else { panic!("no OPT") };
    assert_eq!((own.word_embed_proj_dim, own.do_layer_norm_before, own.final_layer_norm), (1024, true, true));
    assert!(!own.norm_affine && !own.enable_bias);
    let changes = json!({"do_layer_norm_before": true, "_remove_final_layer_norm": true});
    let Architecture::Opt(own) = family("opt", &changes).unwrap().architecture else { panic!("no OPT") };
    assert!(!own.final_layer_norm);

    let config = family("gpt2", &json!({})).unwrap();
    assert_eq!((config.family, config.head_dim, config.intermediate_size), (Family::Gpt2, 64, 3072));
    assert_eq!((config.hidden_act, config.context(), config.num_hidden_layers), (Activation::GeluTanh, 1024, 12));
    assert!(config.tie_word_embeddings);
    let Architecture::Gpt2(own) = config.architecture else { panic!("no GPT-2") };
    assert!(own.scale_attn_weights && !own.scale_attn_by_inverse_layer_idx);

    for (name, changes, parts) in [
        ("opt", json!({"ffn_dim": null}), &["config.json", "`ffn_dim` is missing"][..]),
        ("opt", json!({"hidden_size": 1000}), &["`hidden_size` is 1000", "16 heads"]),
        ("opt", json!({"activation_function": "mish"}), &["`activation_function` is mish"]),
        ("opt", json!({"enable_bias": 1}), &["`enable_bias` is 1", "true or false"]),
        ("gpt2", json!({"n_embd": 700}), &["`n_embd` is 700", "12 heads"]),
        ("gpt2", json!({"n_inner": 0}), &["`n_inner` is 0"]),
        ("gpt2", json!({"layer_norm_epsilon": 3}), &["`layer_norm_epsilon` is 3"]),
        ("gpt2", json!({"add_cross_attention": true}), &["add_cross_attention"]),
    ] {
        refused(&changes.to_string(), family(name, &changes), parts);
    }
}

#[test]
fn conv1d_layers_are_those_of_gpt2() {
    let gpt2 = json!({"model_type": "gpt2"});
    for path in ["h.0.attn.c_attn", "transformer.h.3.attn.c_proj", "transformer.h.3.mlp.c_fc"] {
        assert!(is_conv1d(&gpt2, path) && !is_conv1d(&json!({"model_type": "gpt_bigcode"}), path), "{path}");
    }
    assert!(!is_conv1d(&gpt2, "lm_head") && !is_conv1d(&json!({}), "c_attn"));
}

#[test]
fn rope_in_every_spelling() {
    let scaling = |changes| llama(changes).rope;
    let linear = RopeScaling::Linear { factor: 4.0 };
    for changes in [
        json!({"rope_theta": 5e5, "rope_scaling": {"type": "linear", "factor": 4}}),
        json!({"rope_theta": 5e5, "rope_scaling": {"rope_type": "linear", "factor": 4.0}}),
        json!({"rope_parameters": {"rope_type": "linear", "rope_theta": 5e5, "factor": 4.0}}),
    ] {
        let rope = scaling(changes);
        assert_eq!((rope.theta, rope.scaling), (5e5, linear));
    }
    let rope = scaling(json!({"rope_scaling": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
        "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}}));
    let llama3 = RopeScaling::Llama3 {
        factor: 8.0,
        low_freq_factor: 1.0,
        high_freq_factor: 4.0,
        original_max_position_embeddings: 8192,
    };
    assert_eq!(rope.scaling, llama3);
    let rope = scaling(json!({"rope_scaling": null, "rope_parameters": {"rope_type": "default", "rope_theta": 7.0}}));
    assert_eq!((rope.theta, rope.scaling), (7.0, RopeScaling::None));
    // An empty block is none.
    let rope = scaling(json!({"rope_scaling": {}, "rope_parameters": {"rope_type": "linear", "rope_theta": 7.0,
        "factor": 4.0}}));
    assert_eq!((rope.theta, rope.scaling), (7.0, linear));
    let rope = scaling(json!({"rope_scaling": {}, "rope_parameters": {}, "rope_theta": 9.0}));
    assert_eq!((rope.theta, rope.scaling), (9.0, RopeScaling::None));
}

/// As transformers has it: the field of the whole file first, then that of the block, then the context.
#[test]
fn the_context_before_scaling_has_three_places() {
    for (whole, block, expected) in [
        (json!(16000), json!(8192), 16000),
        (json!(16000), Value::Null, 16000),
        (Value::Null, json!(8192), 8192),
        (Value::Null, Value::Null, 512),
    ] {
        let changes = json!({"original_max_position_embeddings": whole, "rope_scaling": {"rope_type": "llama3",
            "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": block}});
        let scaling = llama(changes.clone()).rope.scaling;
        let RopeScaling::Llama3 { original_max_position_embeddings, .. } = scaling else { panic!("{scaling:?}") };
        assert_eq!(original_max_position_embeddings, expected, "{changes}");
    }
}

#[test]
fn bad_values_are_refused() {
    let llama3 = |low: f64, high: f64| {
        json!({"rope_scaling": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": low,
            "high_freq_factor": high, "original_max_position_embeddings": 8192}})
    };
    let cases: Vec<(Value, &[&str])> = vec![
        (json!({"model_type": "absent"}), &["`model_type` is missing"]),
        (json!({"model_type": 3}), &["`model_type` is 3", "a string"]),
        (json!({"hidden_size": "absent"}), &["`hidden_size` is missing"]),
        (json!({"hidden_size": 0}), &["`hidden_size` is 0", "from 1 to"]),
        (json!({"hidden_size": -64}), &["`hidden_size` is -64"]),
        (json!({"hidden_size": 64.5}), &["`hidden_size` is 64.5"]),
        (json!({"hidden_size": "64"}), &["`hidden_size` is \"64\""]),
        (json!({"hidden_size": [64]}), &["`hidden_size` is [64]"]),
        (json!({"hidden_size": 60}), &["`hidden_size` is 60", "multiple of the 8 heads"]),
        (json!({"vocab_size": 3_000_000_000u64}), &["`vocab_size` is 3000000000", "2147483647"]),
        (json!({"num_hidden_layers": 0}), &["`num_hidden_layers` is 0"]),
        (json!({"intermediate_size": null}), &["`intermediate_size` is missing"]),
        (json!({"max_position_embeddings": 0}), &["`max_position_embeddings` is 0"]),
        (json!({"num_key_value_heads": 3}), &["`num_key_value_heads` is 3", "divide num_attention_heads, 8"]),
        (json!({"head_dim": 7}), &["`head_dim` is 7", "even"]),
        (json!({"head_dim": 2_000_000_000}), &["`head_dim` is 2000000000", "all 8 heads"]),
        (json!({"rms_norm_eps": 0}), &["`rms_norm_eps` is 0"]),
        (json!({"rms_norm_eps": 1e-60}), &["`rms_norm_eps`", "small positive"]),
        (json!({"rms_norm_eps": 2}), &["`rms_norm_eps` is 2"]),
        (json!({"hidden_act": "mish"}), &["`hidden_act` is mish", "gelu_pytorch_tanh"]),
        (json!({"tie_word_embeddings": "yes"}), &["`tie_word_embeddings` is \"yes\"", "true or false"]),
        (json!({"rope_theta": -1.0}), &["`rope_theta` is -1", "positive"]),
        (json!({"rope_theta": "1e4"}), &["`rope_theta`"]),
        (json!({"rope_scaling": "linear"}), &["`rope_scaling`", "object or null"]),
        (json!({"rope_scaling": {"type": "linear"}}), &["`rope_scaling.factor` is missing"]),
        (json!({"rope_scaling": {"type": "linear", "factor": 0.5}}), &["`rope_scaling.factor` is 0.5", "at least 1"]),
        (json!({"rope_parameters": {"rope_type": "linear"}}), &["`rope_parameters.factor` is missing"]),
        (llama3(4.0, 4.0), &["`rope_scaling.high_freq_factor` is 4", "over low_freq_factor"]),
        (json!({"partial_rotary_factor": 0.5}), &["`partial_rotary_factor` is 0.5", "must be 1"]),
        (json!({"sliding_window": 0, "model_type": "mistral"}), &["`sliding_window` is 0"]),
        (json!({"max_window_layers": -1, "model_type": "qwen2"}), &["`max_window_layers` is -1", "whole number"]),
        (json!({"layer_types": ["full_attention"], "model_type": "qwen3"}), &["`layer_types`", "5 layers"]),
        (json!({"bos_token_id": 512}), &["`bos_token_id` is 512", "below 512"]),
        (json!({"eos_token_id": [2, -1]}), &["`eos_token_id` is -1"]),
    ];
    for (changes, parts) in cases {
        let name = changes.to_string();
        let mut parts = parts.to_vec();
        parts.push("config.json");
        refused(&name, read(changes), &parts);
    }
    let parse = |text: &str| ModelConfig::parse("config.json".as_ref(), text);
    refused("cut off", parse("{\"model_type\":"), &["config.json", "not JSON", "line 1"]);
    refused("a list", parse("[1]"), &["config.json", "no JSON object"]);
    // A number that overflows a double is no JSON number at all.
    let theta = base().to_string().replacen('{', "{\"rope_theta\":1e999,", 1);
    refused("infinite theta", parse(&theta), &["config.json", "out of range"]);
}

#[test]
fn what_cannot_be_run_is_named() {
    for (changes, parts) in [
        (json!({"model_type": "gemma3"}), &["model_type `gemma3`", "llama, mistral, qwen2, qwen3, opt, gpt2"][..]),
        (json!({"rope_scaling": {"rope_type": "yarn", "factor": 4.0}}), &["`yarn`", "linear or llama3"]),
        (json!({"rope_scaling": {"type": "mrope"}}), &["`mrope`"]),
    ] {
        let result = read(changes);
        assert!(matches!(result, Err(Error::Unsupported { .. })), "{result:?}");
        refused("unsupported", result, parts);
    }
}

#[test]
fn activations_by_their_published_names() {
    for (name, activation) in [
        ("silu", Activation::Silu),
        ("swish", Activation::Silu),
        ("gelu", Activation::Gelu),
        ("gelu_new", Activation::GeluTanh),
        ("gelu_pytorch_tanh", Activation::GeluTanh),
        ("relu", Activation::Relu),
        ("relu2", Activation::ReluSquared),
    ] {
        assert_eq!(name.parse::<Activation>().unwrap(), activation);
        assert_eq!(activation.name().parse::<Activation>().unwrap(), activation);
    }
}
