/** The cost of one response, read while it streams. */
import type { TokenCounts } from "../../stores/tallies.ts";
import { type Found, JsonUsageScanner, type RawUsage } from "./json-usage.ts";
import { EventSplitter } from "./sse-usage.ts";

export interface ReadUsage {
  /** Undefined where the response reported none. */
  readonly counts: Omit<TokenCounts, "estimated"> | undefined;
  /** They were reported at the beginning, with hardly any output. */
  readonly isPartial: boolean;
  /** A stream of the Responses API, which can be read again, and from its middle. */
  readonly isStored: boolean;
  readonly model: string | undefined;
  /** Of the response, where the upstream can be asked for it again. */
  readonly id: string | undefined;
  /** What the model wrote, as far as it is known: one token for four bytes, and one for each event with a text. */
  readonly writtenTokens: number;
}

const BYTES_PER_TOKEN = 4;

export interface UsageReader {
  push(chunk: Buffer): void;
  /** What was read until now; the end of the response, or where it was cut off. */
  read(): ReadUsage;
}

/** @param isEventStream else one JSON document. */
export function createUsageReader(isEventStream: boolean): UsageReader {
  return isEventStream ? new StreamReader() : new DocumentReader();
}

class DocumentReader implements UsageReader {
  readonly #scanner = new JsonUsageScanner();

  push(chunk: Buffer): void {
    this.#scanner.push(chunk);
  }

  read(): ReadUsage {
    const { found, textBytes } = this.#scanner;
    const writtenTokens = tokensOf(textBytes);
    const counts = countsOf(found.usage.root);
    return { counts, isPartial: false, isStored: false, model: found.model, id: found.id, writtenTokens };
  }
}

class StreamReader implements UsageReader {
  readonly #scanner = new JsonUsageScanner();
  readonly #events: EventSplitter;
  /** Later events repeat or complete those before: usage only grows within a stream. */
  readonly #usage: RawUsage = {};
  #isPartial = true;
  #isStored = false;
  #model: string | undefined;
  #id: string | undefined;
  #textEvents = 0;
  #textBytes = 0;

  constructor() {
    this.#events = new EventSplitter({
      onData: (chunk, from, to) => this.#scanner.push(chunk, from, to),
      onEvent: () => this.#take(),
    });
  }

  push(chunk: Buffer): void {
    this.#events.push(chunk);
  }

  read(): ReadUsage {
    this.#events.end();
    const writtenTokens = Math.max(this.#textEvents, tokensOf(this.#scanner.textBytes));
    const counts = countsOf(this.#usage);
    const said = { model: this.#model, id: this.#id, writtenTokens };
    return { counts, isPartial: this.#isPartial, isStored: this.#isStored, ...said };
  }

  #take(): void {
    const { found, textBytes } = this.#scanner;
    if (textBytes > this.#textBytes) this.#textEvents++;
    this.#textBytes = textBytes;
    this.#model ??= found.model;
    this.#id ??= found.id;
    this.#isStored ||= found.type?.startsWith("response.") === true;
    const usage = usageOf(found);
    if (usage !== undefined && found.type !== "message_start") this.#isPartial = false;
    for (const [name, count] of Object.entries(usage ?? {}) as [keyof RawUsage, number][]) {
      this.#usage[name] = Math.max(this.#usage[name] ?? 0, count);
    }
    this.#scanner.reset();
  }
}

/** OpenAI's Responses API wraps it into `response`, Anthropic's first event into `message`; all others have it in the event itself. */
function usageOf({ type = "", usage }: Found): RawUsage | undefined {
  if (type === "message_start") return usage.message;
  return type.startsWith("response.") ? usage.response : usage.root;
}

/** Undefined where nothing valid was reported: some upstreams have zeros until the end of a stream. */
function countsOf(usage: RawUsage | undefined): ReadUsage["counts"] {
  if (usage === undefined) return undefined;
  const { total_tokens: total = 0, cached_tokens = 0, cache_read_input_tokens: fromCache = 0 } = usage;
  const { prompt_tokens: prompt = 0, completion_tokens = 0, output_tokens = 0 } = usage;
  // Some have the members of both forms, with zeros in one.
  const asked = Math.max(prompt, usage.input_tokens ?? 0);
  const written = Math.max(completion_tokens, output_tokens);
  // Anthropic counts tokens of its cache beside `input_tokens`, OpenAI as a part of them, and so do those who add these to OpenAI's members.
  const isBeside = prompt === 0;
  const cached = isBeside && fromCache > 0 ? fromCache : Math.min(Math.max(cached_tokens, fromCache), asked);
  const fresh = isBeside
    ? asked + (usage.cache_creation_input_tokens ?? 0) - (fromCache > 0 ? 0 : cached)
    : asked - cached;
  // Some upstreams count reasoning in the total only, and embeddings have no output.
  const uncounted = Math.max(0, total - fresh - cached - written);
  if (fresh + cached + written + uncounted === 0) return undefined;
  const isInput = usage.prompt_tokens === undefined && usage.input_tokens === undefined;
  return { input: fresh + (isInput ? uncounted : 0), cached, output: written + (isInput ? 0 : uncounted) };
}

export function tokensOf(bytes: number): number {
  return Math.ceil(bytes / BYTES_PER_TOKEN);
}
