/**
 * What was charged for responses that an upstream stores: they can be read again, and report their usage each time.
 * Invariant: their number is bounded, and one that is no longer known is charged again rather than not at all.
 */
import type { TokenCounts } from "../../stores/tallies.ts";

/** Of all services. */
const RESPONSES_LIMIT = 10_000;

const READING_METHODS: ReadonlySet<string> = new Set(["GET", "HEAD"]);

export class ChargedResponses {
  /** Tokens that were charged, by service and id; the oldest first. */
  readonly #tokens = new Map<string, number>();

  /**
   * The part of the counts that was not charged before: a response that was cut off was estimated, and may be read completely later.
   * @returns undefined where nothing is left. @param id of the response; without one, only an estimate of a reading counts.
   */
  take(method: string, service: string, id: string | undefined, counts: TokenCounts): TokenCounts | undefined {
    const isReading = READING_METHODS.has(method);
    if (id === undefined) return isReading && counts.estimated === 0 ? undefined : counts;
    const response = `${service}\n${id}`;
    const before = this.#tokens.get(response) ?? 0;
    const total = totalOf(counts);
    this.#set(response, Math.max(before, total));
    if (!isReading) return counts;
    return total > before ? without(counts, before) : undefined;
  }

  #set(response: string, tokens: number): void {
    if (!this.#tokens.has(response) && this.#tokens.size >= RESPONSES_LIMIT) {
      for (const oldest of this.#tokens.keys()) {
        this.#tokens.delete(oldest);
        break;
      }
    }
    this.#tokens.set(response, tokens);
  }
}

export function totalOf({ input, cached, output, estimated }: TokenCounts): number {
  return input + cached + output + estimated;
}

/** @param charged at most their total. */
function without(counts: TokenCounts, charged: number): TokenCounts {
  let left = charged;
  const rest = (count: number) => {
    const taken = Math.min(count, left);
    left -= taken;
    return count - taken;
  };
  return {
    input: rest(counts.input),
    cached: rest(counts.cached),
    output: rest(counts.output),
    estimated: rest(counts.estimated),
  };
}
