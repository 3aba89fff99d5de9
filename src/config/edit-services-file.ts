/**
 * Adds a service to the text of a services file, JSON or YAML.
 * Invariant: the rest of the file keeps its bytes (JSON), or its comments and order (YAML), and its meaning does not change.
 */
import { isDeepStrictEqual } from "node:util";
import { Document, isMap, parseDocument } from "yaml";
import { isObject } from "../is-object.ts";
import { parseText } from "./document.ts";
import { type Place, readJson } from "./read-json.ts";

export type EditedText = { readonly text: string } | { readonly problems: readonly string[] };

/** @param text of the file; undefined if there is none. */
export function addServiceToText(text: string | undefined, key: string, service: unknown): EditedText {
  if (text === undefined || text.trim() === "") return { text: toJson({ services: { [key]: service } }) };
  const { data: parsed, problems, position } = parseText(text);
  if (problems.length > 0) return { problems };
  // A YAML file with nothing but comments.
  const data = parsed ?? {};
  const services = isObject(data) ? (data.services ?? {}) : undefined;
  if (!isObject(data) || !isObject(services))
    return { problems: ["1:1: found no object with services, allowed: a services file"] };
  if (Object.hasOwn(services, key))
    return {
      problems: [
        `${position(["services", key], "name")} services.${key}: this service exists already; change it there`,
      ],
    };
  const expected = { ...data, services: { ...services, [key]: service } };
  const edited = editText(text, expected, key, service);
  if (isDeepStrictEqual(parseText(edited).data, expected)) return { text: edited };
  return { problems: ["1:1: the file has a form that this command cannot change; add the service by hand"] };
}

function editText(text: string, expected: unknown, key: string, service: unknown): string {
  const json = readJson(text, 100);
  if (json === undefined) return addToYaml(text, key, service);
  // A file of one line has no indentation to keep.
  return text.trim().includes("\n") ? addToJson(text, json.root, key, service) : toJson(expected);
}

const toJson = (value: unknown) => `${JSON.stringify(value, null, 2)}\n`;

function addToYaml(text: string, key: string, service: unknown): string {
  const document = parseDocument(text, { version: "1.2", schema: "core" });
  const node = new Document(service).contents;
  if (isMap(document.get("services"))) document.setIn(["services", key], node);
  else document.set("services", document.createNode({ [key]: service }));
  return document.toString({ lineWidth: 0 });
}

function addToJson(text: string, root: Place, key: string, service: unknown): string {
  const services = root.members?.get("services");
  if (services !== undefined) return insertMember(text, services.value, key, service);
  return insertMember(text, root, "services", { [key]: service });
}

/** Inserts a member at the end of an object, with the indentation of its other members. */
function insertMember(text: string, { start, members }: Place, name: string, value: unknown): string {
  const close = endOf(text, start);
  const first = [...(members?.values() ?? [])][0];
  const outer = indentAt(text, start);
  const inner = (first && indentAt(text, first.name)) || `${outer}  `;
  const step = inner.slice(outer.length) || "  ";
  const member = `${JSON.stringify(name)}: ${JSON.stringify(value, null, step)}`.replaceAll("\n", `\n${inner}`);
  const before = text.slice(0, close).trimEnd();
  const comma = first === undefined ? "" : ",";
  return `${before}${comma}\n${inner}${member}\n${outer}${text.slice(close)}`;
}

/** The white space at the beginning of the line of this offset. */
function indentAt(text: string, offset: number): string {
  const line = text.slice(text.lastIndexOf("\n", offset - 1) + 1, offset);
  return /^[ \t]*/.exec(line)?.[0] ?? "";
}

/** The offset of the bracket that closes the object. @param text that JSON.parse accepts. */
function endOf(text: string, start: number): number {
  let depth = 0;
  for (let at = start; ; at += 1) {
    const character = text[at];
    if (character === '"') {
      for (at += 1; text[at] !== '"'; at += 1) if (text[at] === "\\") at += 1;
    } else if (character === "{" || character === "[") {
      depth += 1;
    } else if (character === "}" || character === "]") {
      depth -= 1;
      if (depth === 0) return at;
    }
  }
}
