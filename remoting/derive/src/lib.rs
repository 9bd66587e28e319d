// SPDX-License-Identifier: Apache-2.0
//! `#[derive(Header)]`: a struct of named fields becomes a header of the remoting protocol.
//!
//! - A field's wire name is its Rust name in camel case, or `#[field(name = "…")]`.
//! - `#[field(short = "a")]` adds a second spelling: both are read, the short one is written.
//! - `#[field(default)]` and `#[field(default = expr)]` give a missing field a value; a missing
//!   `Option` is `None`; any other missing field is an error.
//! - `#[request(code = SEND_MESSAGE)]` on the struct says which request it is.

use std::collections::BTreeMap;

use proc_macro::TokenStream;
use proc_macro2::TokenStream as Tokens;
use quote::{format_ident, quote};
use syn::{Data, DeriveInput, Error, Expr, Fields, Ident, LitStr, Result, parse_macro_input};

/// See the crate's documentation.
#[proc_macro_derive(Header, attributes(field, request))]
pub fn derive_header(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    expand(&input)
        .unwrap_or_else(Error::into_compile_error)
        .into()
}

struct Field {
    ident: Ident,
    variable: Ident,
    name: String,
    short: Option<String>,
    default: Option<Tokens>,
}

fn expand(input: &DeriveInput) -> Result<Tokens> {
    let fields = named_fields(input)?;
    let ident = &input.ident;
    let read = read_body(&fields);
    let write = fields.iter().map(|field| {
        let ident = &field.ident;
        let name = field.short.as_ref().unwrap_or(&field.name);
        let first = format!("\"{name}\":\"");
        let next = format!("\",{first}");
        quote! {
            ::aerobee_remoting::header::Value::write(
                &self.#ident,
                ::aerobee_remoting::header::Name { plain: #name, first: #first, next: #next },
                out,
            );
        }
    });
    let lifetime = input.generics.lifetimes().next();
    let (borrowed, any, read_generics) = if lifetime.is_some() {
        (
            quote! { #ident<'a> },
            quote! { #ident<'_> },
            quote! { <'a> },
        )
    } else {
        (quote! { #ident }, quote! { #ident }, quote! { <'a> })
    };
    let request = match request_code(input)? {
        Some(code) => quote! {
            impl ::aerobee_remoting::header::Request for #any {
                const CODE: ::aerobee_remoting::RequestCode =
                    ::aerobee_remoting::RequestCode::#code;
            }
        },
        None => quote! {},
    };
    Ok(quote! {
        impl #read_generics ::aerobee_remoting::header::Header<'a> for #borrowed {
            #[inline]
            fn read(
                fields: &::aerobee_remoting::command::Fields<'a>,
            ) -> ::core::result::Result<Self, ::aerobee_remoting::error::FieldError> {
                #read
            }
        }

        impl ::aerobee_remoting::header::WriteFields for #any {
            #[inline]
            fn write<W: ::aerobee_remoting::header::FieldWriter>(&self, out: &mut W) {
                let _ = &out;
                #(#write)*
            }
        }

        #request
    })
}

fn read_body(fields: &[Field]) -> Tokens {
    // Names of one length stand in one arm, so that a field costs one or two comparisons.
    let mut by_length: BTreeMap<usize, Vec<Tokens>> = BTreeMap::new();
    for field in fields {
        let variable = &field.variable;
        for name in [Some(&field.name), field.short.as_ref()]
            .into_iter()
            .flatten()
        {
            by_length
                .entry(name.len())
                .or_default()
                .push(arm(name, variable));
        }
    }
    let arms = by_length.iter().map(|(length, arms)| {
        quote! { #length => match name { #(#arms)* _ => {} }, }
    });
    let variables = fields.iter().map(|field| &field.variable);
    let members = fields.iter().map(|field| {
        let (ident, variable, name) = (&field.ident, &field.variable, &field.name);
        match &field.default {
            Some(default) => quote! {
                #ident: ::aerobee_remoting::header::field_or(#variable, #name, #default)?,
            },
            None => quote! {
                #ident: ::aerobee_remoting::header::field(#variable, #name)?,
            },
        }
    });
    quote! {
        #(let mut #variables: ::core::option::Option<&'a str> = ::core::option::Option::None;)*
        for (name, value) in fields.iter_by_bytes() {
            match name.len() {
                #(#arms)*
                _ => {}
            }
        }
        ::core::result::Result::Ok(Self { #(#members)* })
    }
}

/// Spelled out byte by byte, a name is found by jumps instead of comparisons one after the other.
fn arm(name: &str, variable: &Ident) -> Tokens {
    let bytes = name.bytes();
    quote! { [#(#bytes),*] => #variable = ::core::option::Option::Some(value), }
}

fn named_fields(input: &DeriveInput) -> Result<Vec<Field>> {
    let Data::Struct(data) = &input.data else {
        return Err(Error::new_spanned(input, "a header is a struct"));
    };
    let Fields::Named(named) = &data.fields else {
        return Err(Error::new_spanned(input, "a header has named fields"));
    };
    named.named.iter().map(read_field).collect()
}

fn read_field(field: &syn::Field) -> Result<Field> {
    let ident = field
        .ident
        .clone()
        .ok_or_else(|| Error::new_spanned(field, "a header has named fields"))?;
    let mut read = Field {
        name: camel_case(&ident.to_string()),
        variable: format_ident!("text_of_{}", ident),
        ident,
        short: None,
        default: None,
    };
    for attribute in &field.attrs {
        if !attribute.path().is_ident("field") {
            continue;
        }
        attribute.parse_nested_meta(|meta| {
            if meta.path.is_ident("name") {
                read.name = meta.value()?.parse::<LitStr>()?.value();
            } else if meta.path.is_ident("short") {
                read.short = Some(meta.value()?.parse::<LitStr>()?.value());
            } else if meta.path.is_ident("default") {
                read.default = Some(if meta.input.peek(syn::Token![=]) {
                    let expr: Expr = meta.value()?.parse()?;
                    quote! { #expr }
                } else {
                    quote! { ::core::default::Default::default() }
                });
            } else {
                return Err(meta.error("expected `name`, `short` or `default`"));
            }
            Ok(())
        })?;
    }
    Ok(read)
}

fn request_code(input: &DeriveInput) -> Result<Option<Ident>> {
    let mut code = None;
    for attribute in &input.attrs {
        if !attribute.path().is_ident("request") {
            continue;
        }
        attribute.parse_nested_meta(|meta| {
            if !meta.path.is_ident("code") {
                return Err(meta.error("expected `code`"));
            }
            code = Some(meta.value()?.parse::<Ident>()?);
            Ok(())
        })?;
    }
    Ok(code)
}

fn camel_case(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    let mut upper = false;
    for character in name.trim_start_matches("r#").chars() {
        if character == '_' {
            upper = true;
        } else if upper {
            out.extend(character.to_uppercase());
            upper = false;
        } else {
            out.push(character);
        }
    }
    out
}
