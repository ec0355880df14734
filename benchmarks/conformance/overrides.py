"""Tables of small values: by the name of a configuration's attribute, and by model type where names do not suffice."""

from typing import Any

NAMES = {
    128: """
        vocab_size max_position_embeddings n_positions max_seq_len max_target_positions entity_vocab_size
        max_source_positions input_vocab_size output_vocab_size text_vocab_size context_length
        vocab_size_per_layer_input
    """,
    48: """
        intermediate_size ffn_dim encoder_ffn_dim decoder_ffn_dim mlp_dim n_inner d_ff ffn_hidden_size
        shared_expert_intermediate_size shared_intermediate_size decoder_intermediate_size block_ff_dim
        text_intermediate_size
    """,
    32: """
        hidden_size d_model n_embd dim embed_dim hidden_dim embedding_size entity_emb_size output_dim
        projection_dim out_hidden_size text_hidden_size word_embed_proj_dim encoder_hidden_size
        decoder_hidden_size projector_hidden_size conv_dim image_size pretrain_image_size vision_hidden_size
        embedding_dim projection_size hidden_size_per_layer_input pooler_output_size attention_hidden_size
    """,
    24: """
        moe_intermediate_size expert_ffn_hidden_size moe_shared_expert_intermediate_size intermediate_size_mlp
    """,
    18: """
        index_topk
    """,
    16: """
        kv_lora_rank q_lora_rank qk_head_dim index_head_dim mamba_chunk_size chunk_size temporal_width
        num_position_embeddings max_2d_position_embeddings bigram_vocab_size o_lora_rank
    """,
    8: """
        head_dim qk_rope_head_dim qk_nope_head_dim v_head_dim linear_key_head_dim linear_value_head_dim
        attention_head_dim kv_channels d_kv patch_size mamba_d_state state_size mamba_d_head mamba_head_dim
        mamba_n_heads mamba_num_heads ssm_state_size global_head_dim swa_head_dim linear_head_dim
    """,
    7: """
        sliding_window attention_window
    """,
    4: """
        num_hidden_layers num_layers n_layer n_layers encoder_layers decoder_layers num_decoder_layers depth
        num_attention_heads n_head n_heads num_heads encoder_attention_heads decoder_attention_heads
        num_experts n_routed_experts num_local_experts moe_num_experts linear_num_value_heads attention_heads
        linear_num_heads decoder_num_attention_heads num_attention_heads_per_layer time_step_rank
        mamba_dt_rank rotary_dim
    """,
    2: """
        num_key_value_heads num_kv_heads num_experts_per_tok num_experts_per_token num_selected_experts
        moe_topk moe_k linear_num_key_heads index_n_heads decoder_num_key_value_heads
        encoder_num_key_value_heads num_global_key_value_heads multi_query_group_num zero_expert_num
    """,
    1: """
        n_group topk_group num_expert_group first_k_dense_replace n_groups mamba_n_groups max_window_layers
    """,
}
SMALL = {name: value for value, names in NAMES.items() for name in names.split()}
"""Sizes by name; an attribute that is absent, None or zero by default stays so."""
GENTLE = {
    key: value
    for key, value in SMALL.items()
    if key.endswith(("vocab_size", "layers", "layer", "depth", "experts"))
    or key in ("n_layer", "moe_topk", "index_topk")
}
"""Where the small widths do not fit together: only depth, vocabulary and number of experts are small."""
ALTERNATING = ["sliding_attention", "full_attention"] * 2

MROPE = {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 1, 1]}}

OVERRIDES: dict[str, dict[str, Any]] = {
    "mamba2": {"num_heads": 8, "head_dim": 8, "n_groups": 1},
    "bamba": {"attn_layer_indices": [2], "mamba_n_heads": 8, "mamba_d_head": 8},
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1, "expert_layer_period": 2, "expert_layer_offset": 1},
    "granitemoehybrid": {"layer_types": ["mamba", "attention"] * 2},
    "dbrx": {
        "attn_config": {"kv_n_heads": 2, "clip_qkv": 8.0, "rope_theta": 10000.0},
        "ffn_config": {"ffn_hidden_size": 48, "moe_num_experts": 4, "moe_top_k": 2},
    },
    "dots1": {
        "num_experts_per_tok": 2,
        "n_routed_experts": 4,
        "n_shared_experts": 1,
        "num_key_value_heads": 2,
        "n_group": 1,
        "topk_group": 1,
    },
    "falcon_h1": {"mamba_d_ssm": 64, "mamba_n_heads": 8, "mamba_d_head": 8},
    "gemma3n_text": {
        "num_kv_shared_layers": 2,
        "layer_types": ALTERNATING,
        "activation_sparsity_pattern": [0.95, 0.0, 0.0, 0.0],
    },
    "gemma4_unified_text": {"num_kv_shared_layers": 0, "layer_types": ALTERNATING},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"] * 2},
    "musicgen_decoder": {"num_codebooks": 1},
    "musicgen_melody_decoder": {"num_codebooks": 1},
    "hunyuan_v1_dense": {"head_dim": 8},
    "hunyuan_v1_moe": {"head_dim": 8},
    "ministral": {"head_dim": 8},
    "nemotron": {"num_key_value_heads": 2},
    "reformer": {"axial_pos_embds": False, "is_decoder": True, "attn_layers": ["local", "lsh"] * 2},
    "ReformerForMaskedLM": {"is_decoder": False},
    "xmod": {"default_language": "en_XX"},
    "esm": {"vocab_size": 128, "pad_token_id": 1, "mask_token_id": 2},
    "longformer": {"attention_window": 8},
    "xlm": {"emb_dim": 32, "n_words": 128},
    "flaubert": {"emb_dim": 32, "n_words": 128},
    "xlstm": {"chunk_size": 8},
    "deepseek_v2": {"num_experts_per_tok": 2, "n_group": 1, "topk_group": 1},
    "zamba": {
        "num_hidden_layers": 6,
        "layers_block_type": ["mamba", "hybrid"] * 3,
        "attention_hidden_size": 64,
        "attention_head_dim": 16,
        "mamba_dt_rank": 4,
    },
    "zamba2": {
        "num_hidden_layers": 6,
        "layers_block_type": ["mamba", "hybrid"] * 3,
        "attention_hidden_size": 64,
        "attention_head_dim": 16,
        "hybrid_layer_ids": [1, 3, 5],
        "mamba_ngroups": 1,
        "n_mamba_heads": 8,
        "num_mem_blocks": 1,
    },
    "cohere_compass_text": {
        "rope_parameters": {"full_attention": {"rope_type": "default", "rope_theta": 10000.0}},
        "layer_types": ["full_attention"] * 4,
    },
    "perceiver": {
        "num_latents": 8,
        "d_latents": 32,
        "d_model": 32,
        "num_self_attention_heads": 4,
        "num_cross_attention_heads": 4,
        "num_self_attends_per_block": 4,
        "qk_channels": 32,
        "v_channels": 32,
    },
    "shieldgemma2": {"yes_token_index": 50, "no_token_index": 51},
    "dots3_note_vision_encoder": {"adapter_in_dim": 32, "adapter_out_dim": 32},
    "dots3_note_audio_encoder": {"adapter_input_size": 32, "adapter_out_dim": 32},
    "cpmant": {"prompt_length": 4, "dim_model": 32, "dim_head": 8, "dim_ff": 48},
    "chameleon": {"vocabulary_map": {"<image>": 100}},
    "pegasus_x": {"num_global_tokens": 4, "block_size": 8},
    "longt5": {"local_radius": 7, "global_block_size": 4},
    "bros": {"hidden_size": 64},
    "zaya": {"num_experts_per_tok": 1},
    "qwen4_exp_text": {
        "indexer_n_heads": 2,
        "indexer_kv_heads": 1,
        "indexer_head_dim": 16,
        "indexer_budget": 8,
        "indexer_compress_ratio": 2,
    },
    "led": {"attention_window": 8},
    "convnext": {"image_size": 64, "hidden_sizes": [16, 32, 64, 128]},
    "convnextv2": {"image_size": 64, "hidden_sizes": [16, 32, 64, 128]},
    "esmc": {"num_key_value_heads": 4},
    "donut-swin": {"embed_dim": 24},
    "swin": {"embed_dim": 24, "window_size": 4},
    "swinv2": {"embed_dim": 24},
    "maskformer-swin": {"embed_dim": 24},
    "neomme": {"head_dim": 16},
    "glm4v_text": MROPE,
    "glm_image_text": MROPE,
    "glm_ocr_text": MROPE,
    "glm4v_moe_text": {"rope_parameters": MROPE["rope_parameters"] | {"mrope_section": [1, 1, 0]}},
    "hunyuan_vl_text": MROPE,
    "glm5_next_text": {"index_kpool": 2},
    "audio-spectrogram-transformer": {"max_length": 64},
    "vjepa2": {"frames_per_clip": 4},
    "mistral4": {"head_dim": 16},
    "step3p7_text": {"sliding_window": 7},
    "gemma4_assistant": {"hidden_size_per_layer_input": 0},
    "blt": {"encoder_hash_byte_group_vocab": 500, "num_hidden_layers": 4},
    "moonshine_streaming": {"num_key_value_heads": 4},
    "qwen2_vl_text": MROPE,
    "qwen2_5_vl_text": MROPE,
    "paddleocr_vl_text": MROPE,
    "qwen2_5_omni_text": MROPE,
}
"""Values by model type (sub-configurations included) or by class name."""
