/**
 * Runs the hooks of one module, in their order, and reports what they do.
 * Invariant: a hook that throws, rejects, returns a value or never settles ends its own exchange only, with its name in the log; and
 * an exchange waits for its hooks at most as long as the service's timeoutMs.
 */
import { performance } from "node:perf_hooks";
import { LONGEST_TIMER_MS } from "../config/schema.ts";
import { type AccessLine, accessMembers } from "../telemetry/access-line.ts";
import type { Logger } from "../telemetry/logger.ts";
import type { SecretMask } from "../telemetry/redact.ts";
import type { HookCaller, HookResponse, HookSummary } from "./contract.ts";
import { typeOf } from "./editable-headers.ts";
import type { LoadedHook } from "./read-hooks.ts";
import type { RequestDraft } from "./request-draft.ts";

/** A hook that takes longer is logged, ms. */
const SLOW_MS = 50;

export type HookPhase = "onRequest" | "onResponse" | "onComplete";

/** The failure of a hook, for the log. */
export class HookError extends Error {
  constructor(hook: string, phase: HookPhase, what: string, cause?: unknown) {
    super(`the hook ${hook} ${what} in ${phase}`, cause === undefined ? undefined : { cause });
    this.name = "HookError";
  }
}

/** One step of one exchange. */
export interface HookStep {
  readonly requestId: string;
  readonly service: string;
  /** For all hooks of the step. */
  readonly timeoutMs: number;
  /** Aborted by the caller when the client leaves: then the step ends at once. */
  readonly abort: AbortController;
}

export interface HookCounts {
  readonly name: string;
  readonly phases: readonly HookPhase[];
  /** Since the module was loaded. */
  refusals: number;
  failures: number;
  slow: number;
  /** ms since the epoch; 0 for never. */
  lastFailureAt: number;
  lastSlowAt: number;
}

interface Started extends HookStep {
  /** On the clock of performance.now(). */
  readonly endsAt: number;
}

export class UserHooks {
  readonly counts: readonly HookCounts[];
  readonly hasOnRequest: boolean;
  readonly hasOnResponse: boolean;
  readonly hasOnComplete: boolean;
  readonly #hooks: readonly LoadedHook[];
  readonly #logger: Pick<Logger, "warn" | "error">;

  constructor(hooks: readonly LoadedHook[], logger: Pick<Logger, "warn" | "error">) {
    this.#hooks = hooks;
    this.#logger = logger;
    this.counts = hooks.map((hook) => ({
      name: hook.name,
      phases: (["onRequest", "onResponse", "onComplete"] as const).filter((phase) => hook[phase] !== undefined),
      ...{ refusals: 0, failures: 0, slow: 0, lastFailureAt: 0, lastSlowAt: 0 },
    }));
    this.hasOnRequest = hooks.some(({ onRequest }) => onRequest !== undefined);
    this.hasOnResponse = hooks.some(({ onResponse }) => onResponse !== undefined);
    this.hasOnComplete = hooks.some(({ onComplete }) => onComplete !== undefined);
  }

  /** Stops at the first refusal, which is then in the draft. @throws HookError, also as a rejection. */
  onRequest(draft: RequestDraft, caller: HookCaller, step: HookStep): void | Promise<void> {
    return this.#run("onRequest", [draft.view, caller], step, (at) => {
      if (draft.refusal !== undefined) (this.counts[at] as HookCounts).refusals++;
      return draft.refusal !== undefined;
    });
  }

  /** @throws HookError, also as a rejection. */
  onResponse(response: HookResponse, step: HookStep): void | Promise<void> {
    return this.#run("onResponse", [response], step);
  }

  /** Calls onComplete with what the log says of the exchange. Never throws, and no exchange waits for it. */
  complete(line: AccessLine, maskKeys: SecretMask): void {
    const summary: HookSummary = Object.freeze(JSON.parse(`{${accessMembers(line, maskKeys)}}`));
    const { requestId, service } = summary;
    for (let at = 0; at < this.#hooks.length; at++) {
      const step = { requestId, service, timeoutMs: LONGEST_TIMER_MS };
      const report = (error: unknown) =>
        this.#logger.error({ requestId, service, err: error }, "a hook failed; the exchange was over");
      try {
        const pending = this.#call(at, "onComplete", [summary], step);
        if (pending !== undefined) pending.catch(report);
      } catch (error) {
        report(error);
      }
    }
  }

  /** @param isOver whether the hooks after the one at this position are left out. */
  #run(
    phase: HookPhase,
    args: readonly unknown[],
    step: HookStep,
    isOver: (at: number) => boolean = () => false,
  ): void | Promise<void> {
    const started: Started = { ...step, endsAt: performance.now() + step.timeoutMs };
    const runFrom = (from: number): void | Promise<void> => {
      for (let at = from; at < this.#hooks.length; at++) {
        const pending = this.#call(at, phase, args, step);
        if (pending !== undefined) {
          return this.#within(started, at, phase, pending).then(() =>
            step.abort.signal.aborted || isOver(at) ? undefined : runFrom(at + 1),
          );
        }
        if (isOver(at)) return undefined;
      }
      return undefined;
    };
    return runFrom(0);
  }

  /** Undefined where the hook is done. @throws HookError, also as a rejection. */
  #call(
    at: number,
    phase: HookPhase,
    args: readonly unknown[],
    step: Pick<HookStep, "requestId" | "service">,
  ): Promise<void> | undefined {
    const call = this.#hooks[at]?.[phase];
    if (call === undefined) return undefined;
    const since = performance.now();
    let returned: unknown;
    try {
      returned = call(...args);
    } catch (thrown) {
      throw this.#failure(at, phase, "threw", thrown);
    } finally {
      if (returned === undefined) this.#noteTime(at, phase, performance.now() - since, step);
    }
    if (returned === undefined) return undefined;
    if (typeof returned !== "object" && typeof returned !== "function") {
      if (phase === "onComplete") return undefined;
      throw this.#returned(at, phase, returned);
    }
    return Promise.resolve(returned)
      .then(
        (value) => {
          if (value !== undefined && phase !== "onComplete") throw this.#returned(at, phase, value);
        },
        (thrown: unknown) => {
          throw this.#failure(at, phase, "rejected its promise", thrown);
        },
      )
      .finally(() => this.#noteTime(at, phase, performance.now() - since, step));
  }

  /** Settles when the hook does, when the time of the step is over, or when the step is aborted. */
  #within({ endsAt, timeoutMs, abort, ...step }: Started, at: number, phase: HookPhase, pending: Promise<void>) {
    const { signal } = abort;
    return new Promise<void>((resolve, reject) => {
      let isOver = false;
      const end = (settle: () => void) => {
        isOver = true;
        clearTimeout(timer);
        signal.removeEventListener("abort", onAbort);
        settle();
      };
      const onAbort = () => end(resolve);
      const onTimeout = () => {
        const error = this.#failure(at, phase, `did not settle within ${timeoutMs} ms`);
        end(() => reject(error));
        abort.abort(error);
      };
      const timer = setTimeout(onTimeout, Math.min(Math.max(1, endsAt - performance.now()), LONGEST_TIMER_MS));
      if (signal.aborted) return onAbort();
      signal.addEventListener("abort", onAbort);
      pending.then(
        () => isOver || end(resolve),
        (error: unknown) => {
          if (!isOver) return end(() => reject(error));
          this.#logger.warn({ ...step, err: error }, "a hook failed after its step was over");
        },
      );
    });
  }

  #noteTime(at: number, phase: HookPhase, ms: number, step: Pick<HookStep, "requestId" | "service">): void {
    if (ms <= SLOW_MS) return;
    const counts = this.counts[at] as HookCounts;
    counts.slow++;
    counts.lastSlowAt = Date.now();
    const { requestId, service } = step;
    const fields = { requestId, service, hook: counts.name, phase, durationMs: Math.round(ms) };
    this.#logger.warn(fields, `a hook took over ${SLOW_MS} ms`);
  }

  #failure(at: number, phase: HookPhase, what: string, cause?: unknown): HookError {
    const counts = this.counts[at] as HookCounts;
    counts.failures++;
    counts.lastFailureAt = Date.now();
    return new HookError(counts.name, phase, what, cause);
  }

  /** A value has no meaning, and its author may believe that it refuses the request. */
  #returned(at: number, phase: HookPhase, value: unknown): HookError {
    const call = phase === "onRequest" ? "; call request.refuse() to refuse a request" : "";
    return this.#failure(at, phase, `returned a value (${typeOf(value)})${call},`);
  }
}
