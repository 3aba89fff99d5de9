/** "Did you mean": the name that was meant. */
import { distance } from "fastest-levenshtein";

/** The known name that differs only by a typing error. */
export function nearestName(name: string, known: readonly string[]): string | undefined {
  if (name.length > 40) return undefined;
  const far = (other: string) => distance(name.toLowerCase(), other.toLowerCase());
  const [best] = [...known].sort((a, b) => far(a) - far(b));
  return best !== undefined && far(best) <= Math.max(2, Math.floor(best.length / 3)) ? best : undefined;
}
