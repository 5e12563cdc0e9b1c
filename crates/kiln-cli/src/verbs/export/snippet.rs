//! Lines of Python for the model card that run an exported ONNX file as it lies there: texts and RGB images, whose
//! preprocessing Python's `transformers` reads from the same folder. Owns these lines; tests/onnx_agrees.py runs them.

use std::path::Path;

use kiln_core::{InputSpec, TaskKind, files};
use serde_json::Value;

/// An item of a list with the lines in it; `None` for inputs that no library of Python prepares from these files.
pub(super) fn item(input: &InputSpec, task: Option<TaskKind>, folder: &Path) -> Option<String> {
    let (imports, inputs) = match input {
        InputSpec::Tokens { .. } => (
            "from transformers import AutoTokenizer",
            "tokenizer = AutoTokenizer.from_pretrained(\".\")\n\
             read = tokenizer([\"A text.\", \"Another one.\"], padding=True, truncation=True, return_tensors=\"np\", \
             return_token_type_ids=True)\n\
             inputs = {i.name: read[i.name].astype(\"int64\") for i in session.get_inputs()}",
        ),
        InputSpec::Image { channels: 3, .. } if said_to_others(folder) => (
            "from PIL import Image\nfrom transformers import AutoImageProcessor",
            "processor = AutoImageProcessor.from_pretrained(\".\")\n\
             pictures = [Image.open(\"picture.jpg\").convert(\"RGB\")]\n\
             inputs = {\"pixel_values\": processor(pictures, return_tensors=\"np\")[\"pixel_values\"]}",
        ),
        InputSpec::Image { .. } | InputSpec::Table { .. } => return None,
    };
    let labels = "labels = json.loads(session.get_modelmeta().custom_metadata_map[\"kiln.labels\"])\n\
                  print([labels[i] for i in answer.argmax(-1)])";
    let (more, last) = match task {
        Some(TaskKind::Classification) => ("import json\n\n", labels),
        _ => ("", "print(answer)"),
    };
    let code = format!(
        "{more}import onnxruntime\n{imports}\n\n\
         session = onnxruntime.InferenceSession(\"model.onnx\", providers=[\"CPUExecutionProvider\"])\n\
         {inputs}\nanswer = session.run(None, inputs)[0]\n{last}"
    );
    let indented: Vec<String> = code.lines().map(|line| format!("  {line}").trim_end().to_string()).collect();
    Some(format!("in Python, from within this folder:\n\n  ```python\n{}\n  ```", indented.join("\n")))
}

/// Whether the transforms of images could be said in the words of `transformers`' processors.
fn said_to_others(folder: &Path) -> bool {
    let text = files::read_text(&folder.join("preprocessor_config.json")).unwrap_or_default();
    serde_json::from_str::<Value>(&text).is_ok_and(|fields| fields.get("do_resize").is_some())
}
