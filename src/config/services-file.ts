/**
 * Reads the built-in services and those of the services file. Each is checked separately, and each problem has its position.
 * Invariant: an entry with its own `baseUrl` takes nothing from a preset, so that the credential of a preset is never sent to
 * another address.
 */
import { existsSync } from "node:fs";
import { extname } from "node:path";
import { z } from "zod";
import { isObject } from "../is-object.ts";
import type { Yielder } from "../yielder.ts";
import { type ParsedDocument, parseText } from "./document.ts";
import { ECHO_KEY, PRESETS } from "./presets.ts";
import { showPath, showText, showWord } from "./problems.ts";
import { readTextFile } from "./read-file.ts";
import {
  type Service,
  type ServiceDefinition,
  type ServiceInput,
  serviceKey,
  serviceSchema,
  servicesFileSchema,
} from "./schema.ts";
import { type FoundProblem, translateIssues } from "./translate-issue.ts";

export interface DefinedService extends Pick<Service, "key" | "source" | "embedded"> {
  readonly definition: ServiceDefinition;
  /** The input before defaults, merged with its preset if it has one: it can be shown, changed and stored again. */
  readonly input: ServiceInput;
}

export type FileState = "read" | "absent" | "empty" | "not used";

export interface ServicesFile {
  /** `empty`: the file has no content, not even `{}`. */
  readonly state: FileState;
  readonly services: readonly DefinedService[];
  readonly problems: readonly string[];
  /** `config/services.json:5:13 services.github.auth: …`, for problems that are found later. */
  describe(found: FoundProblem): string;
}

/** A service of the command line. */
export interface OnlyService {
  readonly key: string;
  /** As in the services file. */
  readonly config: ServiceInput;
}

export interface ServicesFileOptions {
  readonly path: string;
  /** The path that problems show. */
  readonly shownPath: string;
  /** `CONFIG_FILE (.env)` if a variable names the file: then the file must exist. */
  readonly namedBy: string | undefined;
  readonly hasEcho: boolean;
  /** Of the whole load. */
  readonly yielder: Yielder;
}

const EXTENSIONS = [".json", ".yaml", ".yml"];

/** Files beside the services file that differ only in their extension: an operator may edit the one that is not read. */
export function unreadSiblings({ path, shownPath }: Pick<ServicesFileOptions, "path" | "shownPath">): string[] {
  const extension = extname(path);
  if (!EXTENSIONS.includes(extension)) return [];
  const withExtension = (text: string, other: string) => `${text.slice(0, -extension.length)}${other}`;
  return EXTENSIONS.filter((other) => other !== extension && existsSync(withExtension(path, other))).map((other) => {
    const sibling = withExtension(shownPath, other);
    return `${sibling} is not read, because ${shownPath} is the services file; set CONFIG_FILE=${sibling} to use it`;
  });
}

type Entries = Readonly<Record<string, unknown>>;

const fileSchema = servicesFileSchema.extend({ services: z.record(z.string(), z.unknown()).default({}) });

/** Room for far more than 1,000 services. */
const MAX_MIB = 16;

export async function readServicesFile(options: ServicesFileOptions): Promise<ServicesFile> {
  const { path, shownPath, namedBy, hasEcho, yielder } = options;
  const reading = readTextFile(path, false, MAX_MIB);
  if (reading.state === "absent" && namedBy === undefined)
    return readEntries({}, "absent", { document: parseText(""), shownPath, hasEcho, yielder });
  if (reading.state !== "read") {
    const reason = reading.state === "absent" ? "there is no such file" : reading.reason;
    const place = namedBy === undefined ? shownPath : `${namedBy}: found ${showText(shownPath)}`;
    return failed(shownPath, [`${place}: cannot be read: ${reason}, allowed: a JSON or YAML file`]);
  }
  const document = parseText(reading.text);
  if (document.problems.length > 0)
    return failed(
      shownPath,
      document.problems.map((line) => `${shownPath}:${line}`),
      "read",
    );

  const file = { document, shownPath, hasEcho, yielder };
  if (document.data === null) return readEntries({}, "empty", file);
  const { data } = document;
  const parsed = fileSchema.safeParse(data);
  if (parsed.success) return readEntries(parsed.data.services, "read", file);
  const found = translateIssues(parsed.error.issues, data);
  const lines = found.map(describe(document, shownPath));
  // A misspelt name at the top must not hide the problems of the services.
  const rest = await readEntries(entriesOf(data), "read", file);
  return { ...rest, problems: [...lines, ...rest.problems] };
}

interface ReadFile extends Pick<ServicesFileOptions, "shownPath" | "hasEcho" | "yielder"> {
  readonly document: ParsedDocument;
}

async function readEntries(entries: Entries, state: FileState, file: ReadFile): Promise<ServicesFile> {
  const { document, shownPath, hasEcho, yielder } = file;
  const services: DefinedService[] = [];
  const problems: FoundProblem[] = [];
  for (const key of new Set([...Object.keys(PRESETS), ...Object.keys(entries)])) {
    if (yielder.isDue) await yielder.yield();
    const isInFile = Object.hasOwn(entries, key);
    const isOwn = isInFile && (hasBaseUrl(entries[key]) || !Object.hasOwn(PRESETS, key));
    if (key === ECHO_KEY && !hasEcho && !isOwn) {
      if (isInFile) problems.push({ path: ["services", key], at: "name", text: ECHO_IS_OFF });
      continue;
    }
    const result = defineEntry(key, entries[key], isInFile, isOwn);
    if ("problems" in result) problems.push(...result.problems);
    else services.push(result);
  }
  const describeOne = describe(document, shownPath);
  return { state, services, describe: describeOne, problems: problems.map(describeOne) };
}

/** The services of a gateway that serves one upstream, which the command line names. */
export function defineOnlyService({ key, config }: OnlyService): ServicesFile {
  const describeOne = ({ path, text }: FoundProblem) => `${showPath(path.slice(1))}: ${text}`;
  const defined = defineService(key, config, "file", false);
  const found = "problems" in defined ? defined.problems : [];
  return {
    state: "not used",
    services: "problems" in defined ? [] : [defined],
    describe: describeOne,
    problems: found.map(describeOne),
  };
}

export const ECHO_IS_OFF =
  "found changes to the embedded service echo, which is off, allowed: with ECHO_SERVICE=true, or with its own baseUrl";

function defineEntry(
  key: string,
  entry: unknown,
  isInFile: boolean,
  isOwn: boolean,
): DefinedService | { problems: FoundProblem[] } {
  const preset = isOwn ? undefined : PRESETS[key];
  const input = preset === undefined || !isInFile ? (preset ?? entry) : overPreset(preset, entry);
  const result = defineService(key, input, isInFile ? "file" : "preset", key === ECHO_KEY && !isOwn);
  const foreign = preset !== undefined && isInFile ? foreignBaseUrls(key, preset, entry) : [];
  return foreign.length === 0 ? result : { problems: [...("problems" in result ? result.problems : []), ...foreign] };
}

/** Checks one service by the schema. @param input from the file, a preset or REST. */
export function defineService(
  key: string,
  input: unknown,
  source: Service["source"],
  embedded: boolean,
): DefinedService | { problems: FoundProblem[] } {
  const path = ["services", key];
  const parsed = serviceSchema.safeParse(input);
  const issues = (parsed.error?.issues ?? []).map((issue) => ({ ...issue, path: [...path, ...issue.path] }));
  const problems = translateIssues(issues, { services: { [key]: input } });
  const allowedKey = serviceKey.safeParse(key).error?.issues[0]?.message;
  if (allowedKey !== undefined) {
    problems.unshift({ path, at: "name", text: `found ${showWord(key)}, allowed: ${allowedKey}` });
  }
  if (problems.length > 0 || !parsed.success) return { problems };
  return { key, definition: parsed.data, input: input as ServiceInput, source, embedded };
}

/** Merges the entry into the preset. A default header of the preset is dropped if the entry has it in `setHeaders`. */
function overPreset(preset: ServiceInput, entry: unknown): unknown {
  if (!isObject(entry)) return entry;
  const forced = new Set(
    Object.keys(isObject(entry.setHeaders) ? entry.setHeaders : {}).map((name) => name.toLowerCase()),
  );
  const headers = Object.entries(preset.headers ?? {}).filter(([name]) => !forced.has(name.toLowerCase()));
  return { ...preset, ...(preset.headers && { headers: Object.fromEntries(headers) }), ...entry };
}

/** With more base URLs, the preset's credential could be sent to another address. */
function foreignBaseUrls(key: string, preset: ServiceInput, entry: unknown): FoundProblem[] {
  if (!isObject(entry) || !isObject(entry.versionedBaseUrls) || preset.auth === undefined || "auth" in entry) return [];
  const { origin } = new URL(preset.baseUrl);
  return Object.entries(entry.versionedBaseUrls)
    .filter(([, url]) => typeof url === "string" && URL.canParse(url) && new URL(url).origin !== origin)
    .map(([version]) => ({
      path: ["services", key, "versionedBaseUrls", version],
      at: "value" as const,
      text: `found another address for the preset's credential, allowed: ${origin}/…, or an entry with its own baseUrl and auth`,
    }));
}

const hasBaseUrl = (entry: unknown) => isObject(entry) && Object.hasOwn(entry, "baseUrl");

function entriesOf(data: unknown): Entries {
  return isObject(data) && isObject(data.services) ? data.services : {};
}

const describe =
  (document: ParsedDocument, shownPath: string) =>
  ({ path, at, text, place }: FoundProblem) =>
    `${place ?? `${shownPath}:${document.position(path, at)} ${showPath(path)}`}: ${text}`;

function failed(shownPath: string, problems: readonly string[], state: FileState = "absent"): ServicesFile {
  return {
    state,
    services: [],
    problems,
    describe: ({ path, text }) => `${shownPath} ${showPath(path)}: ${text}`,
  };
}
