//! Where the Hub is, who asks and where the cache lies, from the environment variables that `huggingface_hub` reads.
//! Owns their order of precedence; never writes a token anywhere. Hands `Settings` to pull and push.

use std::path::{Path, PathBuf};

use kiln_core::files;

const ENDPOINT: &str = "https://huggingface.co";

/// How the Hub is reached.
#[derive(Clone)]
pub struct Settings {
    /// `HF_ENDPOINT`: the Hub's address, without a slash at its end.
    pub endpoint: String,
    /// `HF_TOKEN`, else the file that `HF_TOKEN_PATH` names, else `token` in `HF_HOME`.
    pub token: Option<String>,
    /// `HF_HUB_CACHE`, else `hub` in `HF_HOME`, else `~/.cache/huggingface/hub`.
    pub cache: PathBuf,
    /// `HF_HUB_OFFLINE`: the cache alone.
    pub offline: bool,
}

impl Settings {
    /// As the environment says.
    pub fn from_env() -> Self {
        Self::from_variables(&|name| std::env::var(name).ok())
    }

    fn from_variables(get: &dyn Fn(&str) -> Option<String>) -> Self {
        let set =
            |name: &str| get(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty());
        let home = set("HF_HOME")
            .map(PathBuf::from)
            .or_else(|| set("XDG_CACHE_HOME").map(|cache| Path::new(&cache).join("huggingface")));
        let home = home.unwrap_or_else(default_home);
        let file = set("HF_TOKEN_PATH").map_or_else(|| home.join("token"), PathBuf::from);
        let stored =
            || files::read_text(&file).ok().map(|text| text.trim().to_owned()).filter(|t| !t.is_empty());
        let cache = set("HF_HUB_CACHE").or_else(|| set("HUGGINGFACE_HUB_CACHE")).map(PathBuf::from);
        let yes = |value: String| ["1", "true", "yes", "on"].contains(&value.to_lowercase().as_str());
        Self {
            endpoint: set("HF_ENDPOINT").unwrap_or_else(|| ENDPOINT.into()).trim_end_matches('/').into(),
            token: set("HF_TOKEN").or_else(stored),
            cache: cache.unwrap_or_else(|| home.join("hub")),
            offline: set("HF_HUB_OFFLINE").or_else(|| set("TRANSFORMERS_OFFLINE")).is_some_and(yes),
        }
    }
}

/// A token is never shown.
impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings")
            .field("endpoint", &self.endpoint)
            .field("token", &self.token.as_ref().map(|_| "set"))
            .field("cache", &self.cache)
            .field("offline", &self.offline)
            .finish()
    }
}

fn default_home() -> PathBuf {
    std::env::home_dir().unwrap_or_default().join(".cache").join("huggingface")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(variables: &[(&str, &str)]) -> Settings {
        let get = |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, v)| (*v).to_owned());
        Settings::from_variables(&get)
    }

    #[test]
    fn variables_are_read_in_their_order() {
        let home = tempfile::tempdir().unwrap();
        let at = home.path().display().to_string();
        std::fs::write(home.path().join("token"), "hf_stored\n").unwrap();
        let plain = of(&[("HF_HOME", &at)]);
        assert_eq!((plain.endpoint.as_str(), plain.offline), ("https://huggingface.co", false));
        assert_eq!(plain.cache, home.path().join("hub"));
        assert_eq!(plain.token.as_deref(), Some("hf_stored"));
        let all = of(&[
            ("HF_HOME", &at),
            ("HF_TOKEN", "hf_given"),
            ("HF_HUB_CACHE", "/elsewhere"),
            ("HF_ENDPOINT", "http://mirror/"),
            ("HF_HUB_OFFLINE", "True"),
        ]);
        assert_eq!((all.endpoint.as_str(), all.offline), ("http://mirror", true));
        assert_eq!((all.token.as_deref(), all.cache.to_str()), (Some("hf_given"), Some("/elsewhere")));
        assert!(!of(&[("HF_HOME", &at), ("HF_HUB_OFFLINE", "0")]).offline);
        assert_eq!(of(&[("XDG_CACHE_HOME", "/x")]).cache, Path::new("/x/huggingface/hub"));
    }

    #[test]
    fn a_token_is_never_shown() {
        let shown = format!("{:?}", of(&[("HF_HOME", "/nowhere"), ("HF_TOKEN", "hf_secret")]));
        assert!(!shown.contains("secret") && shown.contains("set"), "{shown}");
    }
}
