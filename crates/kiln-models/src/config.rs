//! The `[model]` table of a config: which family, which sizes, which weights to start from.
//! Owns the words and their defaults; builds nothing. The family's `build` reads its branch.

mod encoder;
mod gpt2;
mod vision;

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use encoder::*;
pub use gpt2::*;
pub use vision::*;

/// Which model, and what it starts from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ModelConfig {
    /// Fully connected layers with ReLU.
    Mlp(MlpConfig),
    /// Every column a token of a transformer, for tables (Gorishniy et al., 2021).
    FtTransformer(FtTransformerConfig),
    /// Convolutions over words, for text from scratch (Kim, 2014).
    Textcnn(TextcnnConfig),
    /// A small convolutional net: per stage 3x3 convolution, batch norm, ReLU, 2x2 max pooling; then two linear layers.
    Cnn(CnnConfig),
    /// Residual net in the CIFAR or the ImageNet form (He et al., 2015).
    Resnet(ResnetConfig),
    /// Vision transformer: ViT (Dosovitskiy et al., 2020) and DeiT (Touvron et al., 2021).
    Vit(VitConfig),
    /// ConvNeXt (Liu et al., 2022).
    Convnext(ConvnextConfig),
    /// MobileNetV2 (Sandler et al., 2018).
    MobilenetV2(MobilenetV2Config),
    /// BERT encoder (Devlin et al., 2018).
    Bert(BertConfig),
    /// RoBERTa encoder (Liu et al., 2019); XLM-R and CamemBERT too.
    Roberta(RobertaConfig),
    /// DistilBERT encoder (Sanh et al., 2019).
    #[serde(rename = "distilbert")]
    DistilBert(DistilBertConfig),
    /// GPT-2 decoder (Radford et al., 2019), also in nanoGPT's form.
    Gpt2(Gpt2Config),
}

/// `kind = "mlp"`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MlpConfig {
    /// Weights to start from: a folder with `model.safetensors`, a `.safetensors`, or a PyTorch `.pt/.pth/.th`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "path"))]
    pub pretrained: Option<PathBuf>,
    /// Width of each hidden layer.
    #[serde(default = "mlp_hidden")]
    pub hidden: Vec<usize>,
    /// Probability of zeroing a hidden activation in training.
    #[serde(default)]
    #[schemars(range(min = 0.0, max = 0.99))]
    pub dropout: f64,
}

/// `kind = "ft_transformer"`. What is left out is the paper's default for the number of blocks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FtTransformerConfig {
    /// Weights to start from: a folder with `model.safetensors`, a `.safetensors`, or a PyTorch `.pt/.pth/.th`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "path"))]
    pub pretrained: Option<PathBuf>,
    /// Transformer blocks.
    #[serde(default = "ft_blocks")]
    #[schemars(range(min = 1, max = 100))]
    pub n_blocks: usize,
    /// Width of a token; by default 96, 128, 192, 256, 320, 384 for 1 to 6 blocks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65536))]
    pub d_block: Option<usize>,
    /// Attention heads; divides `d_block`.
    #[serde(default = "ft_heads")]
    #[schemars(range(min = 1, max = 1024))]
    pub attention_n_heads: usize,
    /// Dropout of attention weights; by default 0.1 to 0.35 for 1 to 6 blocks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 0.99))]
    pub attention_dropout: Option<f64>,
    /// Width of the feed-forward layer; by default 4/3 of `d_block`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub ffn_d_hidden: Option<usize>,
    /// Dropout in the feed-forward layer; by default 0 to 0.25 for 1 to 6 blocks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 0.99))]
    pub ffn_dropout: Option<f64>,
    /// Dropout of what each layer adds.
    #[serde(default)]
    #[schemars(range(min = 0.0, max = 0.99))]
    pub residual_dropout: f64,
}

/// `kind = "textcnn"`. Defaults are the paper's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TextcnnConfig {
    /// Weights to start from: a folder with `model.safetensors`, a `.safetensors`, or a PyTorch `.pt/.pth/.th`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "path"))]
    pub pretrained: Option<PathBuf>,
    /// Numbers a word.
    #[serde(default = "textcnn_embedding")]
    #[schemars(range(min = 1, max = 65536))]
    pub embedding_size: usize,
    /// Words that a filter sees at once, for each group of filters.
    #[serde(default = "textcnn_kernels")]
    pub kernel_sizes: Vec<usize>,
    /// Filters of each width.
    #[serde(default = "textcnn_filters")]
    #[schemars(range(min = 1, max = 65536))]
    pub num_filters: usize,
    /// Probability of zeroing a number before the head in training.
    #[serde(default = "textcnn_dropout")]
    #[schemars(range(min = 0.0, max = 0.99))]
    pub dropout: f64,
}

/// `kind = "cnn"`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CnnConfig {
    /// Weights to start from: a folder with `model.safetensors`, a `.safetensors`, or a PyTorch `.pt/.pth/.th`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "path"))]
    pub pretrained: Option<PathBuf>,
    /// Channels of each stage; each stage halves height and width.
    #[serde(default = "cnn_channels")]
    pub channels: Vec<usize>,
    /// Width of the linear layer before the head.
    #[serde(default = "cnn_hidden")]
    #[schemars(range(min = 1, max = 65536))]
    pub hidden: usize,
    /// Probability of zeroing an activation before the head in training.
    #[serde(default)]
    #[schemars(range(min = 0.0, max = 0.99))]
    pub dropout: f64,
}

/// `kind = "resnet"`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ResnetConfig {
    /// Weights to start from: a folder of `transformers` or timm, or a file of such weights or of torchvision's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "path"))]
    pub pretrained: Option<PathBuf>,
    /// Depth and form; comes from the pretrained folder's `config.json` where that has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preset: Option<ResnetPreset>,
    /// Stochastic depth: how often the last block's branch is left out in training; the first never is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 0.99))]
    pub drop_path_rate: Option<f64>,
}

/// Depth and form of a residual net.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ResnetPreset {
    /// CIFAR form, 20 layers, option A shortcuts.
    Cifar20,
    /// CIFAR form, 32 layers.
    Cifar32,
    /// CIFAR form, 44 layers.
    Cifar44,
    /// CIFAR form, 56 layers.
    Cifar56,
    /// CIFAR form, 110 layers.
    Cifar110,
    /// `resnet18` with the stem that small images want: one 3x3 convolution, no pooling (11.2 M parameters).
    #[serde(rename = "cifar_resnet18")]
    CifarResnet18,
    /// ImageNet form, 18 layers (torchvision's `resnet18`).
    Resnet18,
    /// ImageNet form, 34 layers.
    Resnet34,
    /// ImageNet form, 50 layers with bottlenecks.
    Resnet50,
    /// ImageNet form, 101 layers with bottlenecks.
    Resnet101,
    /// ImageNet form, 152 layers with bottlenecks.
    Resnet152,
}

impl ModelConfig {
    /// The config's word for the family, `kind`.
    pub fn kind(&self) -> &'static str {
        match self {
            ModelConfig::Mlp(_) => "mlp",
            ModelConfig::FtTransformer(_) => "ft_transformer",
            ModelConfig::Textcnn(_) => "textcnn",
            ModelConfig::Cnn(_) => "cnn",
            ModelConfig::Resnet(_) => "resnet",
            ModelConfig::Vit(_) => "vit",
            ModelConfig::Convnext(_) => "convnext",
            ModelConfig::MobilenetV2(_) => "mobilenet_v2",
            ModelConfig::Bert(_) => "bert",
            ModelConfig::Roberta(_) => "roberta",
            ModelConfig::DistilBert(_) => "distilbert",
            ModelConfig::Gpt2(_) => "gpt2",
        }
    }

    /// The weights to start from, if any.
    pub fn pretrained(&self) -> Option<&PathBuf> {
        match self {
            ModelConfig::Mlp(c) => c.pretrained.as_ref(),
            ModelConfig::FtTransformer(c) => c.pretrained.as_ref(),
            ModelConfig::Textcnn(c) => c.pretrained.as_ref(),
            ModelConfig::Cnn(c) => c.pretrained.as_ref(),
            ModelConfig::Resnet(c) => c.pretrained.as_ref(),
            ModelConfig::Vit(c) => c.pretrained.as_ref(),
            ModelConfig::Convnext(c) => c.pretrained.as_ref(),
            ModelConfig::MobilenetV2(c) => c.pretrained.as_ref(),
            ModelConfig::Bert(c) => c.pretrained.as_ref(),
            ModelConfig::Roberta(c) => c.pretrained.as_ref(),
            ModelConfig::DistilBert(c) => c.pretrained.as_ref(),
            ModelConfig::Gpt2(c) => c.pretrained.as_ref(),
        }
    }
}

fn mlp_hidden() -> Vec<usize> {
    vec![128]
}

fn ft_blocks() -> usize {
    3
}

fn ft_heads() -> usize {
    8
}

fn textcnn_embedding() -> usize {
    300
}

fn textcnn_kernels() -> Vec<usize> {
    vec![3, 4, 5]
}

fn textcnn_filters() -> usize {
    100
}

fn textcnn_dropout() -> f64 {
    0.5
}

fn cnn_channels() -> Vec<usize> {
    vec![32, 64]
}

fn cnn_hidden() -> usize {
    128
}
