// The page of the API: this gateway's own OpenAPI document, shown without anything from other hosts.

import { $, el } from "./dom.js";
import { themeSwitch } from "./themes.js";

const JSON_BODY = "application/json";

function named(schema, document) {
  const name = schema.$ref?.split("/").at(-1);
  return name ? { name, ...document.components.schemas[name] } : schema;
}

/** A schema in a few words. */
function kind(schema, document) {
  if (schema.$ref) return named(schema, document).name;
  const either = schema.anyOf ?? schema.oneOf;
  if (either) return either.map((one) => kind(one, document)).join(" or ");
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(", ");
  if ("const" in schema) return JSON.stringify(schema.const);
  if (schema.type === "array") return `array of ${kind(schema.items ?? {}, document)}`;
  return [schema.type ?? "any", ...bounds(schema)].join(", ");
}

function bounds(schema) {
  const words = { minimum: "from", exclusiveMinimum: "above", maximum: "up to", maxLength: "at most", maxItems: "at most" };
  return Object.entries(words).filter(([name]) => name in schema).map(([name, word]) => `${word} ${schema[name]}`);
}

function row(name, words, required) {
  const cell = el("td", {}, el("code", {}, name));
  return el("tr", {}, cell, el("td", {}, words), el("td", {}, required ? "required" : ""));
}

function table(caption, rows) {
  return el("table", {}, el("caption", {}, caption), el("tbody", {}, ...rows));
}

function fields(schema, document) {
  const required = new Set(schema.required ?? []);
  return Object.entries(schema.properties ?? {}).map(([name, one]) => row(name, kind(one, document), required.has(name)));
}

/** A schema and the schemas that it refers to, each once. */
function tables(schema, document, seen) {
  const { name, ...shown } = named(schema, document);
  if (name && seen.has(name)) return [];
  seen.add(name);
  const own = shown.properties ? [table(name ?? "body", fields(shown, document))] : [];
  const parts = JSON.stringify(shown).matchAll(/"\$ref":"([^"]+)"/g);
  return own.concat([...parts].flatMap(([, $ref]) => tables({ $ref }, document, seen)));
}

function curl(path, method, example) {
  const body = example ? ` \\\n  -H 'content-type: application/json' \\\n  -d '${JSON.stringify(example, null, 2).replaceAll("'", "'\\''")}'` : "";
  return `curl ${location.origin}${path} -X ${method.toUpperCase()} \\\n  -H "authorization: Bearer $OPENAI_API_KEY"${body}`;
}

function operation(path, method, told, document) {
  const inside = el("div", { class: "inside" });
  if (told.description) inside.append(el("p", {}, told.description));
  const parameters = (told.parameters ?? []).map((one) => row(one.name, kind(one.schema, document), one.required));
  if (parameters.length) inside.append(table("parameters", parameters));
  const [media, body] = Object.entries(told.requestBody?.content ?? {})[0] ?? [];
  if (media !== "multipart/form-data") inside.append(el("pre", {}, curl(path, method, body?.example)));
  if (body) inside.append(...tables(body.schema, document, new Set()));
  const head = el("summary", {}, el("b", {}, method), el("code", {}, path), el("span", {}, told.summary));
  return el("details", { id: told.operationId }, head, inside);
}

function sections(document) {
  const byTag = Map.groupBy(
    Object.entries(document.paths).flatMap(([path, methods]) => Object.entries(methods).map((one) => [path, ...one])),
    ([, , told]) => told.tags?.[0] ?? "other",
  );
  return [...byTag].map(([tag, operations]) =>
    el("section", {}, el("h2", {}, tag), ...operations.map((one) => operation(...one, document))),
  );
}

themeSwitch($("theme"));
const answer = await fetch("/openapi.json");
$("operations").replaceChildren(...(answer.ok ? sections(await answer.json()) : [`openapi.json: ${answer.status}`]));
