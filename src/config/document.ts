/**
 * Reads a JSON or YAML text as data, with the line and column of every value and name.
 * Invariant: never throws, and never quotes the text, which may contain secrets.
 */
import {
  type Document,
  isAlias,
  isMap,
  isScalar,
  isSeq,
  Lexer,
  LineCounter,
  type Node,
  type Pair,
  Parser,
  parseDocument,
  visit,
  type YAMLError,
  type YAMLMap,
} from "yaml";
import { findJsonFault } from "./json-syntax.ts";
import { findPlace, readJson } from "./read-json.ts";

export interface ParsedDocument {
  /** Undefined when there are problems; null for an empty file. */
  readonly data: unknown;
  /** `line:column: what is wrong`. */
  readonly problems: readonly string[];
  /** `line:column` of the value at this path or of its name; of the enclosing value if the path is not in the text. */
  position(path: readonly PropertyKey[], at: "value" | "name"): string;
}

/** The library's messages for these errors quote the file. Its other messages are fixed sentences about syntax. */
const OWN_WORDS: Readonly<Record<string, string>> = {
  BAD_ALIAS: "an alias without its anchor",
  BAD_COLLECTION_TYPE: "a tag that does not fit its value",
  BAD_DIRECTIVE: "an unknown directive",
  BAD_DQ_ESCAPE: "an escape sequence that does not exist",
  BAD_PROP_ORDER: "an anchor or tag in the wrong place",
  DUPLICATE_KEY: "the same key twice",
  NON_STRING_KEY: "a list or an object as a key",
  RESOURCE_EXHAUSTION: "text that is nested too deeply",
  TAG_RESOLVE_FAILED: "an unknown tag, or a value that does not fit it",
  UNEXPECTED_TOKEN: "an unexpected token",
};

export function parseText(text: string): ParsedDocument {
  const json = readJson(text, MAX_DEPTH);
  if (json === undefined) return inTermsOfJson(text, parseYaml(text));
  const { data, root } = json;
  const lines = linesOf(text);
  return { data, problems: [], position: (path, at) => positionOf(findPlace(root, path, at), lines) };
}

/** A text that begins as JSON does is meant to be JSON. The YAML parser accepts some of it, such as a comma before a `}`. */
function inTermsOfJson(text: string, parsed: ParsedDocument): ParsedDocument {
  const isRefused = parsed.problems.length > 0 && !parsed.problems.includes(TOO_DEEP);
  const fault = isRefused ? findJsonFault(text) : undefined;
  if (fault === undefined) return parsed;
  return {
    ...parsed,
    problems: [`${positionOf(fault.offset, linesOf(text))}: found ${fault.words}, allowed: JSON or YAML`],
  };
}

function linesOf(text: string): LineCounter {
  const lines = new LineCounter();
  lines.addNewLine(0);
  for (let end = text.indexOf("\n"); end !== -1; end = text.indexOf("\n", end + 1)) lines.addNewLine(end + 1);
  return lines;
}

function positionOf(offset: number, lines: LineCounter): string {
  const { line, col } = lines.linePos(offset);
  return `${Math.max(1, line)}:${Math.max(1, col)}`;
}

function parseYaml(text: string): ParsedDocument {
  const lines = new LineCounter();
  const place = (offset: number) => positionOf(offset, lines);
  const failed = (problems: readonly string[]) => ({ data: undefined, problems, position: () => "1:1" });
  try {
    if (isTooDeep(text)) return failed([TOO_DEEP]);
    const document = parseDocument(text, {
      lineCounter: lines,
      prettyErrors: false,
      version: "1.2",
      schema: "core",
      merge: false,
      // Otherwise a list or object as a key would be printed, with its contents, as a process warning.
      stringKeys: true,
      logLevel: "error",
    });
    const errors = [...document.errors, ...document.warnings];
    if (errors.length > 0) {
      // Of several errors at one position, the last is the clearest.
      const byPlace = new Map(errors.map((error) => [place(error.pos[0]), syntaxProblem(error)]));
      return failed([...byPlace].map(([position, problem]) => `${position}: ${problem}`));
    }
    const hidden = prototypeNames(document).map((offset) => `${place(offset)}: unknown key "__proto__"`);
    if (hidden.length > 0) return failed(hidden);
    const data: unknown = document.toJS();
    const pairs: Pairs = new WeakMap();
    return { data, problems: [], position: (path, at) => place(offsetOf(document, pairs, path, at)) };
  } catch {
    // The library throws for circular aliases, and for too many of them.
    return failed([TOO_DEEP]);
  }
}

/** More than any services file needs. */
const MAX_DEPTH = 100;
const TOO_DEEP = "1:1: found text that is nested too deeply or refers to itself, allowed: JSON or YAML";

/** Checked first: the library recurses, and V8 ends the process when it compiles a RegExp on a full stack. */
function isTooDeep(text: string): boolean {
  const parser = new Parser();
  for (const lexeme of new Lexer().lex(text)) {
    for (const _token of parser.next(lexeme)) {
      // Only the depth of the parser's stack matters.
    }
    if (parser.stack.length > MAX_DEPTH) return true;
  }
  return false;
}

function syntaxProblem(error: YAMLError): string {
  return `found ${OWN_WORDS[error.code] ?? `a syntax error (${error.message})`}, allowed: JSON or YAML`;
}

/** zod silently drops this name, and the operator would not see that it has no effect. */
function prototypeNames(document: Document): number[] {
  const offsets: number[] = [];
  visit(document, {
    Pair(_, { key }) {
      if (isScalar(key) && key.value === "__proto__") offsets.push(key.range?.[0] ?? 0);
    },
  });
  return offsets;
}

type Pairs = WeakMap<YAMLMap, ReadonlyMap<string, Pair>>;

/** The first pair of each name in a map. Cached: there may be a warning, with its position, for each of 1,000 services. */
function pairsOf(map: YAMLMap, known: Pairs): ReadonlyMap<string, Pair> {
  let pairs = known.get(map);
  if (pairs === undefined) {
    pairs = new Map(
      map.items.map((pair) => [String(isScalar(pair.key) ? pair.key.value : pair.key), pair] as const).reverse(),
    );
    known.set(map, pairs);
  }
  return pairs;
}

function offsetOf(document: Document, known: Pairs, path: readonly PropertyKey[], at: "value" | "name"): number {
  let node: unknown = document.contents;
  let offset = start(node) ?? 0;
  for (const [index, segment] of path.entries()) {
    if (isAlias(node)) node = node.resolve(document);
    if (isMap(node)) {
      const pair = pairsOf(node, known).get(String(segment));
      if (pair === undefined) return offset;
      const isName = at === "name" && index === path.length - 1;
      offset = (isName ? undefined : start(pair.value)) ?? start(pair.key) ?? offset;
      node = pair.value;
    } else if (isSeq(node)) {
      node = node.items[Number(segment)];
      offset = start(node) ?? offset;
    } else {
      return offset;
    }
  }
  return offset;
}

const start = (node: unknown) => (node as Node | null | undefined)?.range?.[0];
