//! Lists of kinds: an enumeration tagged by `kind` whose every case is a type of its own.
//! Owns the form alone; the lists are those of the transforms of images and of texts.

/// An enumeration of types that are each named by their `kind` in a config and all do what a trait says (`op`).
macro_rules! kinds {
    ($(#[$doc:meta])* pub enum $list:ident: $op:ident { $($name:ident,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
        #[serde(tag = "kind", rename_all = "snake_case")]
        // A comment here would hide the types' own in the schema.
        #[allow(missing_docs)]
        pub enum $list {
            $($name($name),)*
        }

        impl $list {
            pub(crate) fn op(&self) -> &dyn $op {
                match self {
                    $($list::$name(op) => op,)*
                }
            }
        }

        $(impl From<$name> for $list {
            fn from(own: $name) -> Self {
                $list::$name(own)
            }
        })*
    };
}

pub(crate) use kinds;
