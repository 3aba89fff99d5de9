/**
 * Claims that outlive the process: a journal with one line for each change, rewritten when most of it is out of date.
 * Invariant: a claim is on the disk (fdatasync) before it is granted. A result is written without waiting for the disk: without its
 * line the claim stays pending until its lease ends, which sends nothing twice.
 */
import { closeSync, copyFileSync, openSync, readSync } from "node:fs";
import { isObject } from "../is-object.ts";
import {
  CLAIMS_LIMITS,
  type Claims,
  type ClaimsLimits,
  type ClaimsWriter,
  ClaimTable,
  createClaims,
  type KeptClaim,
  type KeptResponse,
} from "./claims.ts";
import { writeAtEnd } from "./journal.ts";
import { replaceFile } from "./state-file.ts";

export interface FileClaims extends Claims {
  /** Unreadable lines when it was opened, without a line that a crash cut short. If there are any, a copy of the file was made. */
  readonly damagedLines: number;
}

export interface FileClaimsOptions {
  readonly path: string;
  /** ms since the epoch: claims that are over are not read. */
  readonly now: number;
  /** Called when a result, or the smaller file, cannot be written. */
  readonly onFailure: (error: unknown) => void;
  readonly limits?: ClaimsLimits;
  /** The file is rewritten when this many bytes were added to twice what was needed at the last rewrite. */
  readonly slackBytes?: number;
}

const SLACK_BYTES = 4 * 1_048_576;

/** Read at once. */
const READ_BYTES = 1_048_576;

/** @throws node:fs's error when the file exists and cannot be read. */
export function openFileClaims(options: FileClaimsOptions): FileClaims {
  const { path, now, limits = CLAIMS_LIMITS } = options;
  const table = new ClaimTable(limits);
  let damagedLines = 0;
  for (const { text, isTorn } of linesOf(path)) {
    if (!apply(table, text, now) && !isTorn) damagedLines++;
  }
  if (damagedLines > 0) copyFileSync(path, `${path}.damaged`);
  const claims = createClaims(table, new JournalWriter(options, table));
  return Object.assign(claims, { damagedLines });
}

interface Write {
  readonly text: string;
  /** Undefined where nothing waits for the disk. */
  readonly settle: ((error?: unknown) => void) | undefined;
}

class JournalWriter implements ClaimsWriter {
  readonly #options: FileClaimsOptions;
  readonly #table: ClaimTable;
  #queue: Write[] = [];
  #writing: Promise<void> | undefined;
  /** The last write may have left a part of a line. */
  #mayBeTorn = true;
  #rewriteAt = 0;

  constructor(options: FileClaimsOptions, table: ClaimTable) {
    this.#options = options;
    this.#table = table;
    this.#rewriteAt = options.slackBytes ?? SLACK_BYTES;
  }

  claimed(key: string, claim: KeptClaim): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#add({ text: lineOf(key, claim), settle: (error) => (error === undefined ? resolve() : reject(error)) });
    });
  }

  changed(key: string, claim: KeptClaim): void {
    this.#add({ text: lineOf(key, claim), settle: undefined });
  }

  released(key: string, { fence }: KeptClaim): void {
    this.#add({ text: `${JSON.stringify({ k: key, f: fence, x: 1 })}\n`, settle: undefined });
  }

  close = async (): Promise<void> => {
    while (this.#writing !== undefined) await this.#writing;
  };

  #add(write: Write): void {
    this.#queue.push(write);
    this.#writing ??= this.#writeAll().finally(() => {
      this.#writing = undefined;
    });
  }

  /** Claims that arrive during a write share the next one, and its fdatasync. */
  async #writeAll(): Promise<void> {
    while (this.#queue.length > 0) {
      const batch = this.#queue;
      this.#queue = [];
      await this.#write(batch);
    }
  }

  async #write(batch: readonly Write[]): Promise<void> {
    const { path, onFailure } = this.#options;
    const isAwaited = batch.some(({ settle }) => settle !== undefined);
    const text = batch.map((write) => write.text).join("");
    try {
      // An empty line is none, and ends what a failed write left.
      const size = await writeAtEnd(path, this.#mayBeTorn ? `\n${text}` : text, isAwaited);
      this.#mayBeTorn = false;
      for (const { settle } of batch) settle?.();
      if (size >= this.#rewriteAt) await this.#rewrite(size);
    } catch (error) {
      this.#mayBeTorn = true;
      for (const { settle } of batch) settle?.(error);
      if (batch.some(({ settle }) => settle === undefined)) onFailure(error);
    }
  }

  /** Lines in the queue repeat what the new file has; they are read in order, so that the last one decides. */
  async #rewrite(size: number): Promise<void> {
    const { path, onFailure, slackBytes = SLACK_BYTES } = this.#options;
    let bytes = 0;
    const entries = [...this.#table.entries];
    function* lines(): Generator<string> {
      for (const [key, claim] of entries) {
        const line = lineOf(key, claim);
        bytes += line.length;
        yield line;
      }
    }
    try {
      await replaceFile(path, chunked(lines()));
      this.#rewriteAt = 2 * bytes + slackBytes;
    } catch (error) {
      // Not again with the next line.
      this.#rewriteAt = 2 * size;
      onFailure(error);
    }
  }
}

/** Few writes for many lines. */
const CHUNK_CHARACTERS = 65_536;

function* chunked(lines: Iterable<string>): Generator<string> {
  let chunk = "";
  for (const line of lines) {
    chunk += line;
    if (chunk.length < CHUNK_CHARACTERS) continue;
    yield chunk;
    chunk = "";
  }
  yield chunk;
}

/** ASCII but for what a header holds. */
function lineOf(key: string, { owner, request, fence, until, isDone, response }: KeptClaim): string {
  const result = response && {
    s: response.status,
    t: response.reason,
    h: response.headers,
    b: response.body.toString("base64"),
  };
  return `${JSON.stringify({ k: key, o: owner, q: request, f: fence, u: until, d: isDone ? 1 : 0, ...result })}\n`;
}

/** @returns false for a line that is not the gateway's. */
function apply(table: ClaimTable, text: string, now: number): boolean {
  if (text === "") return true;
  let line: unknown;
  try {
    line = JSON.parse(text);
  } catch {
    return false;
  }
  if (!isObject(line) || typeof line.k !== "string" || !Number.isSafeInteger(line.f)) return false;
  const { k: key, f: fence } = line as { k: string; f: number };
  if (line.x === 1) {
    if (table.entries.get(key)?.fence === fence) table.delete(key);
    return true;
  }
  if (typeof line.o !== "string" || typeof line.q !== "string" || !Number.isFinite(line.u)) return false;
  const until = line.u as number;
  const claim = { owner: line.o, request: line.q, fence, until, isDone: line.d === 1, response: responseOf(line) };
  if (until > now) table.set(key, claim);
  else if (table.entries.get(key)?.fence === fence) table.delete(key);
  return true;
}

function responseOf({ s: status, t: reason, h: headers, b: body }: Record<string, unknown>): KeptResponse | undefined {
  if (!Number.isInteger(status) || typeof reason !== "string" || !isObject(headers) || typeof body !== "string") {
    return undefined;
  }
  return {
    status: status as number,
    reason,
    headers: headers as KeptResponse["headers"],
    body: Buffer.from(body, "base64"),
  };
}

/** Line by line, because the file may be larger than a text can be. */
function* linesOf(path: string): Generator<{ readonly text: string; readonly isTorn: boolean }> {
  let file: number;
  try {
    file = openSync(path, "r");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return;
    throw error;
  }
  try {
    let parts: Buffer[] = [];
    for (;;) {
      const chunk = Buffer.allocUnsafeSlow(READ_BYTES);
      const length = readSync(file, chunk, 0, READ_BYTES, null);
      if (length === 0) break;
      let from = 0;
      for (let end = chunk.indexOf(10); end !== -1 && end < length; end = chunk.indexOf(10, from)) {
        parts.push(chunk.subarray(from, end));
        yield { text: Buffer.concat(parts).toString(), isTorn: false };
        parts = [];
        from = end + 1;
      }
      if (from < length) parts.push(chunk.subarray(from, length));
    }
    if (parts.length > 0) yield { text: Buffer.concat(parts).toString(), isTorn: true };
  } finally {
    closeSync(file);
  }
}
