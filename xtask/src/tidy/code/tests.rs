use super::*;

fn code(text: &str) -> String {
    mask(text)
        .replace('"', "")
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
}

#[test]
fn comments_vanish() {
    assert_eq!(code("a // b { \n c"), "a c");
    assert_eq!(code("a /* b /* { */ c */ d"), "a d");
    assert_eq!(code("/// text\n//! text\nfn f() {}"), "fn f() {}");
}

#[test]
fn literals_hide_what_they_hold() {
    assert_eq!(code(r#"let a = "} // \" {"; b"#), "let a = ; b");
    assert_eq!(code(r##"let a = r#"x " } {"#; b"##), "let a = ; b");
    assert_eq!(code(r##"let a = br#"}"#; b"##), "let a = ; b");
    assert_eq!(
        code(r"let a = '{'; let b = '\''; c"),
        "let a = ; let b = ; c"
    );
    assert_eq!(code("fn f<'a>(x: &'a str) {}"), "fn f<'a>(x: &'a str) {}");
    assert_eq!(code("let number = r#type;"), "let number = r#type;");
}

#[test]
fn a_string_over_lines_counts_as_code() {
    assert_eq!(count_lines(&mask("let a = \"x\ny\nz\";\n\n// no\n")), 3);
}

#[test]
fn test_modules_do_not_count() {
    let text = "fn a() {}\n#[cfg(test)]\nmod tests {\n  fn b() { let c = \"}\"; }\n}\nfn d() {}\n";
    assert_eq!(count_lines(&without_tests(&mask(text))), 2);
    let with_attribute = "#[cfg(test)]\n#[allow(x, reason = \"y\")]\nmod tests {\n  fn b() {}\n}\n";
    assert_eq!(count_lines(&without_tests(&mask(with_attribute))), 0);
}

#[test]
fn other_test_items_count() {
    for text in [
        "#[cfg(test)]\nmod tests;\nfn a() {\n}\n",
        "#[cfg(test)]\nuse x;\nfn a() {\n}\n",
        "#[cfg(test)]\nfn a() {\n}\nmod b {}\n",
    ] {
        assert_eq!(count_lines(&without_tests(&mask(text))), 4, "{text}");
    }
}

#[test]
fn any_text_is_answered() {
    for text in [
        "",
        "\"",
        "'",
        "r#",
        "r#\"",
        "/*",
        "b",
        "'\\",
        "br",
        "#[cfg(test)] mod a {",
    ] {
        let masked = mask(text);
        assert_eq!(masked.chars().count(), text.chars().count());
        without_tests(&masked);
    }
}

#[test]
fn modules_of_the_top_are_found() {
    let text = "//! mod no;\nmod a;\npub mod b;\npub(crate) mod c {\n    mod d;\n}\nuse mode;\n";
    assert_eq!(modules(&mask(text)), ["a", "b", "c"]);
}
