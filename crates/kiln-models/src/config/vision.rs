//! The `[model]` keys of the families for images: presets under timm's names, and what may be set beside them.
//! Owns the words; sizes and checks are the families'.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `kind = "vit"`. Sizes come from the preset or from the pretrained folder's `config.json`; a size given here must
/// agree with the folder, and replaces the preset's.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct VitConfig {
    /// Weights to start from: a folder of `transformers` (ViT, DeiT) or timm, or a file of such weights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "path"))]
    pub pretrained: Option<PathBuf>,
    /// Sizes, by timm's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preset: Option<VitPreset>,
    /// Side of a patch in pixels; divides the image's height and width.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 4096))]
    pub patch_size: Option<usize>,
    /// Width of the encoder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65536))]
    pub hidden_size: Option<usize>,
    /// Encoder layers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub num_hidden_layers: Option<usize>,
    /// Attention heads; divides `hidden_size`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1024))]
    pub num_attention_heads: Option<usize>,
    /// Dropout after embeddings, attention output and feed-forward.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 0.99))]
    pub hidden_dropout_prob: Option<f64>,
    /// Dropout of attention weights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 0.99))]
    pub attention_probs_dropout_prob: Option<f64>,
    /// Stochastic depth: how often the last layer's branches are left out in training; the first layer's never are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 0.99))]
    pub drop_path_rate: Option<f64>,
}

/// Sizes of a vision transformer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum VitPreset {
    /// 192 wide, 12 layers, 3 heads, patches of 16.
    VitTinyPatch16_224,
    /// The same for images of 384.
    VitTinyPatch16_384,
    /// 384 wide, 12 layers, 6 heads, patches of 32.
    VitSmallPatch32_224,
    /// 384 wide, 12 layers, 6 heads, patches of 16.
    VitSmallPatch16_224,
    /// The same for images of 384.
    VitSmallPatch16_384,
    /// 768 wide, 12 layers, 12 heads, patches of 32.
    VitBasePatch32_224,
    /// 768 wide, 12 layers, 12 heads, patches of 16.
    VitBasePatch16_224,
    /// The same for images of 384.
    VitBasePatch16_384,
    /// 768 wide, 12 layers, 12 heads, patches of 8.
    VitBasePatch8_224,
    /// 1024 wide, 24 layers, 16 heads, patches of 16.
    VitLargePatch16_224,
    /// DeiT (Touvron et al., 2021): as `vit_tiny_patch16_224`.
    DeitTinyPatch16_224,
    /// DeiT: as `vit_small_patch16_224`.
    DeitSmallPatch16_224,
    /// DeiT: as `vit_base_patch16_224`.
    DeitBasePatch16_224,
    /// DeiT: as `vit_base_patch16_384`.
    DeitBasePatch16_384,
    /// DeiT with a distillation token and a second head.
    DeitTinyDistilledPatch16_224,
    /// DeiT with a distillation token and a second head.
    DeitSmallDistilledPatch16_224,
    /// DeiT with a distillation token and a second head.
    DeitBaseDistilledPatch16_224,
    /// DeiT with a distillation token and a second head, for images of 384.
    DeitBaseDistilledPatch16_384,
}

/// `kind = "convnext"`. Sizes come from the preset or from the pretrained folder's `config.json`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ConvnextConfig {
    /// Weights to start from: a folder of `transformers` (ConvNeXT) or timm, or a file of such weights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "path"))]
    pub pretrained: Option<PathBuf>,
    /// Sizes, by timm's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preset: Option<ConvnextPreset>,
    /// Stochastic depth: how often the last block is left out in training; the first never is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 0.99))]
    pub drop_path_rate: Option<f64>,
}

/// Sizes of a ConvNeXt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ConvnextPreset {
    /// 2, 2, 6, 2 blocks, 40 to 320 channels.
    ConvnextAtto,
    /// 2, 2, 6, 2 blocks, 48 to 384 channels.
    ConvnextFemto,
    /// 2, 2, 6, 2 blocks, 64 to 512 channels.
    ConvnextPico,
    /// 2, 2, 8, 2 blocks, 80 to 640 channels.
    ConvnextNano,
    /// 3, 3, 9, 3 blocks, 96 to 768 channels.
    ConvnextTiny,
    /// 3, 3, 27, 3 blocks, 96 to 768 channels.
    ConvnextSmall,
    /// 3, 3, 27, 3 blocks, 128 to 1024 channels.
    ConvnextBase,
    /// 3, 3, 27, 3 blocks, 192 to 1536 channels.
    ConvnextLarge,
}

/// `kind = "mobilenet_v2"`. Sizes come from the preset or from the pretrained folder's `config.json`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MobilenetV2Config {
    /// Weights to start from: a folder of `transformers` (MobileNetV2) or timm, or a file of such weights or of
    /// torchvision's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "path"))]
    pub pretrained: Option<PathBuf>,
    /// Sizes, by timm's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preset: Option<MobilenetV2Preset>,
    /// Probability of zeroing a feature before the head in training.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 0.99))]
    pub classifier_dropout: Option<f64>,
    /// Stochastic depth: how often the last residual block is left out in training; the first never is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 0.99))]
    pub drop_path_rate: Option<f64>,
}

/// Sizes of a MobileNetV2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MobilenetV2Preset {
    /// 0.35 of the width.
    Mobilenetv2_035,
    /// Half the width.
    Mobilenetv2_050,
    /// Three quarters of the width.
    Mobilenetv2_075,
    /// The paper's width (torchvision's `mobilenet_v2`).
    Mobilenetv2_100,
    /// 1.4 of the width.
    Mobilenetv2_140,
    /// 1.1 of the width, 1.2 of the depth.
    Mobilenetv2_110d,
    /// 1.2 of the width, 1.4 of the depth.
    Mobilenetv2_120d,
}
