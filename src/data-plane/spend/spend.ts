/**
 * What one exchange spends: its budgets, and the tokens that its response reports.
 * Invariant: an exchange is charged at most once, before its client learns that the response is complete; and a response that was cut
 * off, or that the client did not wait for, is charged by an estimate.
 */
import type { TokenBudget } from "../../config/token-budget.ts";
import type { TokenCounts } from "../../stores/tallies.ts";
import type { ResponseHead, ResponseSink } from "../forward/response-sink.ts";
import { createUsageReader, type ReadUsage, tokensOf, type UsageReader } from "./usage-reader.ts";
import { type UsageMeter, UsageSink } from "./usage-sink.ts";

/** A budget that counts the exchange. */
export interface ChargedBudget {
  /** The key of its tally. */
  readonly tally: string;
  readonly budget: TokenBudget;
  /** Whose it is, for a message: `this key`, `openai`. */
  readonly owner: string;
  readonly ownerKind: "key" | "issuer" | "service";
}

/** The parts of an exchange that decide its cost. */
export interface SpendingExchange {
  readonly method: string;
  readonly hasBody: boolean;
  readonly bytesIn: number;
  readonly wasSent: boolean;
  readonly outcome: string;
  readonly hasClientLeft: boolean;
  readonly serviceKey: string;
  readonly callerId: string;
}

export interface Charge {
  readonly counts: TokenCounts;
  readonly model: string | undefined;
  /** Of the response. */
  readonly id: string | undefined;
}

export interface SpendParts {
  readonly budgets: readonly ChargedBudget[];
  /** The patterns of each key that restricts models. */
  readonly models: readonly (readonly string[])[];
  /** @returns the tokens that were charged; undefined for a response that was charged before. */
  readonly charge: (exchange: SpendingExchange, charge: Charge) => number | undefined;
  readonly noteEncoded: () => void;
}

const NOTHING_READ = { counts: undefined, isPartial: false, isStored: false, model: undefined, id: undefined };

const NO_TOKENS = { input: 0, cached: 0, output: 0 };

export class Spend implements UsageMeter {
  readonly budgets: readonly ChargedBudget[];
  readonly models: readonly (readonly string[])[];
  readonly exchange: SpendingExchange;
  /** Tokens that were charged; undefined before, and where nothing was. */
  tokens: number | undefined;
  /** Gives back the memory of the body that is held. */
  releaseBody: (() => void) | undefined;
  readonly #parts: SpendParts;
  /** `open`: a sink has accepted the response, and reports its end. */
  #state: "before" | "open" | "over" = "before";
  #kind: "none" | "stream" | "document" = "none";
  #isSuccess = false;
  /** Undefined for a response that is not read, and for an encoded one. */
  #reader: UsageReader | undefined;
  #unreadBytes = 0;

  constructor(exchange: SpendingExchange, parts: SpendParts) {
    this.exchange = exchange;
    this.budgets = parts.budgets;
    this.models = parts.models;
    this.#parts = parts;
  }

  /** Tokens are counted. */
  get isCounting(): boolean {
    return this.budgets.length > 0;
  }

  createSink(next: ResponseSink): ResponseSink {
    return this.isCounting ? new UsageSink(next, this) : next;
  }

  /** The head of the response that goes to the client. */
  begin({ status, headers }: ResponseHead): void {
    this.#isSuccess = status >= 200 && status < 300;
    const type = String(headers["content-type"] ?? "").toLowerCase();
    const isStream = /^\s*text\/event-stream\s*(?:;|$)/.test(type);
    this.#kind = isStream
      ? "stream"
      : /^\s*application\/(?:[\w.+-]+\+)?json\s*(?:;|$)/.test(type)
        ? "document"
        : "none";
    const coding = String(headers["content-encoding"] ?? "identity")
      .trim()
      .toLowerCase();
    if (this.#kind === "none" || this.exchange.method === "HEAD") return;
    if (coding === "identity" || coding === "") this.#reader = createUsageReader(isStream);
    else this.#parts.noteEncoded();
  }

  /** The response was accepted: its end will be reported. */
  opened(): void {
    this.#state = "open";
  }

  read(chunk: Buffer): void {
    if (this.#reader === undefined) this.#unreadBytes += chunk.length;
    else this.#reader.push(chunk);
  }

  /** The response is complete. */
  complete(): void {
    const { counts, model, id, writtenTokens, isStored } = this.#end();
    const what = { model, id };
    if (counts !== undefined) return this.#charge({ counts: { ...counts, estimated: 0 }, ...what });
    // A document without usage cost nothing; a stream may come from an upstream that does not report it.
    const isUnreported = this.#kind === "stream" || (this.#kind === "document" && this.#reader === undefined);
    if (isUnreported && writtenTokens > 0) this.#estimate(writtenTokens, what, isStored);
  }

  /** The response was cut off by the upstream, by the gateway, or by a client that left. */
  cut(): void {
    if (this.#state !== "open") return;
    const { counts, model, id, writtenTokens, isPartial, isStored } = this.#end();
    const what = { model, id };
    if (this.#kind === "none") return;
    if (counts === undefined) return this.#estimate(writtenTokens, what, isStored);
    const estimated = isPartial ? Math.max(0, writtenTokens - counts.output) : 0;
    this.#charge({ counts: { ...counts, estimated }, ...what });
  }

  /** The exchange is over. */
  end(): void {
    this.releaseBody?.();
    this.releaseBody = undefined;
    if (this.#state !== "before" || !this.exchange.wasSent || !this.isCounting) return;
    const { outcome, hasClientLeft } = this.exchange;
    // The upstream may have worked for it.
    const isUnfinished = hasClientLeft || outcome === "failed:UPSTREAM_TIMEOUT" || this.#kind !== "none";
    if (isUnfinished) this.#estimate(0, { model: undefined, id: undefined });
  }

  #end(): ReadUsage {
    this.#state = "over";
    return this.#reader?.read() ?? { ...NOTHING_READ, writtenTokens: tokensOf(this.#unreadBytes) };
  }

  /** Only a request with a body makes a model work; a stored stream without its end shows what another request made it write. */
  #estimate(writtenTokens: number, what: Omit<Charge, "counts">, isStored = false): void {
    const { hasBody, bytesIn } = this.exchange;
    if (!(hasBody || isStored) || !(this.#isSuccess || this.#kind === "none")) return;
    const estimated = tokensOf(bytesIn) + writtenTokens;
    if (estimated > 0) this.#charge({ counts: { ...NO_TOKENS, estimated }, ...what });
  }

  #charge(charge: Charge): void {
    this.tokens = this.#parts.charge(this.exchange, charge);
  }
}
