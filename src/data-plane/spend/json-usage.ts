/**
 * Reads what a response says about its cost from JSON as it arrives, byte by byte.
 * Invariant: memory is bounded whatever arrives; chunks may end anywhere; and only members at the places of the vendors' formats count:
 * `usage` of the document, of its `message` or of its `response`, never one inside a text, a list or another object.
 *
 * The scanner follows the structure and does not validate: what is not JSON gives no usage, or a wrong one, but never an error.
 */

/** The members of a `usage` object, with those of its details by their last name. */
const COUNTS = [
  "prompt_tokens",
  "completion_tokens",
  "total_tokens",
  "input_tokens",
  "output_tokens",
  "cache_creation_input_tokens",
  "cache_read_input_tokens",
  "cached_tokens",
] as const;

type CountName = (typeof COUNTS)[number];

/** As the upstream sent them; only valid numbers. */
export type RawUsage = Partial<Record<CountName, number>>;

/** What one JSON document said. */
export interface Found {
  readonly type: string | undefined;
  readonly model: string | undefined;
  readonly id: string | undefined;
  /** By where it was. */
  readonly usage: Readonly<Record<Wrapper, RawUsage | undefined>>;
}

/** The object in which a `usage` may be. */
type Wrapper = "root" | "message" | "response";

/** What an object, or a list, is in the document. */
type Role = Wrapper | "usage" | "details" | "other";

const COUNT_NAMES: ReadonlySet<string> = new Set(COUNTS);
const DETAILS_NAMES: ReadonlySet<string> = new Set(["prompt_tokens_details", "input_tokens_details"]);

/** Members whose strings are what the model wrote, at any depth. */
const TEXT_NAMES: ReadonlySet<string> = new Set([
  ...["content", "text", "delta", "thinking", "reasoning", "reasoning_content", "refusal"],
  ...["arguments", "partial_json", "input", "transcript"],
]);

/** Bytes of a captured name, text or number. */
const CAPTURE_LIMIT = 256;

/** Levels at which a list is told apart from an object; deeper down every string counts as a value. */
const DEPTH_LIMIT = 64;

/** A response that costs more is not believed. */
const COUNT_LIMIT = 1_000_000_000;

/** RFC 8259 section 6, without a sign. */
const NUMBER = /^\d+(?:\.\d+)?(?:[eE][+-]?\d+)?$/;

const QUOTE = 0x22;
const BACKSLASH = 0x5c;

export class JsonUsageScanner {
  /** Bytes of the strings that the model wrote. */
  textBytes = 0;
  #depth = 0;
  /** From the outermost one; of the first levels only. */
  readonly #roles: Role[] = [];
  readonly #isObject: boolean[] = [];
  #wrapper: Wrapper = "root";
  #isOver = false;
  /** The next string is the name of a member. */
  #awaitsName = false;
  /** Of the member whose value comes next; empty in a list. */
  #name = "";
  #state: "between" | "string" | "escaped" | "scalar" = "between";
  #isName = false;
  #isCaptured = false;
  #isText = false;
  #hasEscape = false;
  readonly #captured = Buffer.alloc(CAPTURE_LIMIT);
  #length = 0;
  #type: string | undefined;
  #model: string | undefined;
  #id: string | undefined;
  #usage: Record<Wrapper, RawUsage | undefined> = noUsage();

  get found(): Found {
    return { type: this.#type, model: this.#model, id: this.#id, usage: this.#usage };
  }

  push(chunk: Buffer, from = 0, to = chunk.length): void {
    for (let at = from; at < to && !this.#isOver; at++) {
      const byte = chunk[at] as number;
      if (this.#state === "string") at = this.#readString(chunk, at, to);
      else if (this.#state === "escaped") {
        this.#keep(byte);
        this.#state = "string";
      } else this.#readStructure(byte);
    }
  }

  /** For the next document; `textBytes` goes on. */
  reset(): void {
    this.#depth = 0;
    this.#wrapper = "root";
    this.#isOver = false;
    this.#awaitsName = false;
    this.#name = "";
    this.#state = "between";
    this.#type = undefined;
    this.#model = undefined;
    this.#id = undefined;
    this.#usage = noUsage();
  }

  /** @returns the offset of the last byte that it read. */
  #readString(chunk: Buffer, from: number, to: number): number {
    let at = from;
    while (at < to && chunk[at] !== QUOTE && chunk[at] !== BACKSLASH) at++;
    if (this.#isText) this.textBytes += at - from;
    if (this.#isCaptured)
      for (let i = from; i < at && this.#length <= CAPTURE_LIMIT; i++) this.#keep(chunk[i] as number);
    if (at === to) return to;
    if (chunk[at] === QUOTE) this.#endString();
    else {
      this.#hasEscape = true;
      this.#keep(BACKSLASH);
      this.#state = "escaped";
    }
    return at;
  }

  #readStructure(byte: number): void {
    switch (byte) {
      case QUOTE:
        return this.#beginString();
      case 0x7b: // {
        return this.#open(true);
      case 0x5b: // [
        return this.#open(false);
      case 0x7d: // }
      case 0x5d: // ]
        return this.#close();
      case 0x2c: // ,
        this.#endScalar();
        this.#awaitsName = this.#depth <= DEPTH_LIMIT && this.#isObject[this.#depth - 1] === true;
        if (!this.#awaitsName) this.#name = "";
        return;
      case 0x3a: // :
        this.#awaitsName = false;
        return;
      case 0x20:
      case 0x09:
      case 0x0a:
      case 0x0d:
        return this.#endScalar();
      default:
        if (this.#state === "between") this.#beginScalar();
        this.#keep(byte);
    }
  }

  #open(isObject: boolean): void {
    const role = isObject ? this.#roleOf(this.#name) : "other";
    this.#depth++;
    if (this.#depth <= DEPTH_LIMIT) {
      this.#roles[this.#depth - 1] = role;
      this.#isObject[this.#depth - 1] = isObject;
    }
    if (role === "message" || role === "response") this.#wrapper = role;
    // Of two members of this name the last counts, as for other readers.
    if (role === "usage") this.#usage[this.#wrapper] = {};
    this.#awaitsName = isObject && this.#depth <= DEPTH_LIMIT;
    this.#name = "";
  }

  #roleOf(name: string): Role {
    if (this.#depth === 0) return "root";
    const outer = this.#role;
    if (outer === "root" && (name === "message" || name === "response")) return name;
    if (outer === "usage") return DETAILS_NAMES.has(name) ? "details" : "other";
    const isWrapper = outer === "root" || outer === "message" || outer === "response";
    return isWrapper && name === "usage" ? "usage" : "other";
  }

  get #role(): Role {
    return this.#depth === 0 || this.#depth > DEPTH_LIMIT ? "other" : (this.#roles[this.#depth - 1] as Role);
  }

  #close(): void {
    this.#endScalar();
    if (this.#role === "message" || this.#role === "response") this.#wrapper = "root";
    if (this.#depth > 0) this.#depth--;
    this.#awaitsName = false;
    this.#name = "";
    if (this.#depth === 0) this.#isOver = true;
  }

  #beginString(): void {
    this.#state = "string";
    this.#isName = this.#awaitsName;
    this.#isCaptured = this.#isName || this.#isWanted(this.#name);
    this.#isText = !this.#isName && TEXT_NAMES.has(this.#name);
    this.#hasEscape = false;
    this.#length = 0;
  }

  /** The value of this member is read. */
  #isWanted(name: string): boolean {
    const role = this.#role;
    if (role === "root") return name === "type" || name === "model" || name === "id";
    return (role === "message" || role === "response") && (name === "model" || name === "id");
  }

  #endString(): void {
    this.#state = "between";
    if (!this.#isCaptured) return;
    const text = this.#capturedText();
    if (this.#isName) this.#name = text;
    else if (text !== "" && this.#name === "type") this.#type = text;
    else if (text !== "" && this.#name === "model") this.#model = text;
    else if (text !== "" && this.#name === "id") this.#id = text;
  }

  /** Empty where it is too long, or not valid. */
  #capturedText(): string {
    if (this.#length > CAPTURE_LIMIT) return "";
    const text = this.#captured.toString("utf8", 0, this.#length);
    if (!this.#hasEscape) return text;
    try {
      return JSON.parse(`"${text}"`) as string;
    } catch {
      return "";
    }
  }

  #beginScalar(): void {
    this.#state = "scalar";
    const role = this.#role;
    const isCount = role === "usage" ? this.#name !== "cached_tokens" : role === "details";
    this.#isCaptured = isCount && COUNT_NAMES.has(this.#name);
    this.#length = 0;
  }

  #endScalar(): void {
    if (this.#state !== "scalar") return;
    this.#state = "between";
    const usage = this.#usage[this.#wrapper];
    if (!this.#isCaptured || usage === undefined || this.#length > CAPTURE_LIMIT) return;
    const text = this.#captured.toString("latin1", 0, this.#length);
    const count = NUMBER.test(text) ? Number(text) : Number.NaN;
    if (count <= COUNT_LIMIT) usage[this.#name as CountName] = Math.ceil(count);
  }

  #keep(byte: number): void {
    if (!this.#isCaptured) return;
    if (this.#length < CAPTURE_LIMIT) this.#captured[this.#length] = byte;
    if (this.#length <= CAPTURE_LIMIT) this.#length++;
  }
}

function noUsage(): Record<Wrapper, RawUsage | undefined> {
  return { root: undefined, message: undefined, response: undefined };
}
