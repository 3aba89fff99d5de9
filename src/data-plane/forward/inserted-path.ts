/**
 * The inserted path of a credential in what an upstream sends back: in its links and cookies.
 * Invariant: the path is compared decoded, because an upstream may encode it in another way; and what comes back leads through the
 * gateway to the same resource, without the secret.
 */
import { fillTemplate } from "../../config/template.ts";
import { PLACEHOLDER_WORD } from "../credential/place-plan.ts";
import type { Exchange } from "../exchange.ts";
import type { PreparedService } from "../prepared-service.ts";

export interface InsertedPath {
  /** Percent-decoded. */
  readonly segments: readonly string[];
  /** The gateway's path for it: empty for the template that is used without a choice. */
  readonly gatewayPath: string;
}

/** The inserted paths of the exchange, the longest first; empty for a credential elsewhere. */
export function insertedPathsOf(
  { insertedPaths }: Pick<Exchange, "insertedPaths">,
  { placePlan }: Pick<PreparedService, "placePlan">,
): readonly InsertedPath[] {
  if (placePlan === undefined || placePlan.paths.length === 0) return [];
  return insertedPaths
    .map((path, index): InsertedPath => {
      const template = placePlan.paths[index];
      const gatewayPath = index === 0 || template === undefined ? "" : fillTemplate(template, () => PLACEHOLDER_WORD);
      return { segments: path.split("/").slice(1).map(decoded), gatewayPath };
    })
    .sort((a, b) => b.segments.length - a.segments.length);
}

/** @param rest of a path after the base's prefix, with what follows. @returns undefined for one outside the inserted paths. */
export function withoutInserted(rest: string, inserted: readonly InsertedPath[]): string | undefined {
  const end = rest.search(/[?#]/);
  const path = end === -1 ? rest : rest.slice(0, end);
  const segments = path.split("/").slice(1);
  for (const { segments: own, gatewayPath } of inserted) {
    if (own.length > segments.length || own.some((text, i) => decoded(segments[i] as string) !== text)) continue;
    const after = segments.slice(own.length).map((segment) => `/${segment}`);
    return gatewayPath + after.join("") + rest.slice(path.length);
  }
  return undefined;
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
