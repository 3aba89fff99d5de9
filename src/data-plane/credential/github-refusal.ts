/**
 * What a refusal of GitHub's API to issue a token means.
 * Invariant: nothing of the body is shown; it only chooses between sentences.
 */
import { TokenFailure } from "./access-token.ts";
import { describeSkew, type EndpointResponse, refusalOf, retryAfterOf } from "./endpoint-exchange.ts";

export const isSuspended = () =>
  new TokenFailure("cannot issue tokens: the installation is suspended, and its owner can unsuspend it");

/** @param subject what was asked for. */
export function explainGithubRefusal(response: EndpointResponse, subject: "owner" | "installation"): TokenFailure {
  const { status, text } = response;
  // "This installation has been suspended", with 403.
  if (status === 403 && /\bsuspended\b/i.test(text)) return isSuspended();
  const pauseMs = rateLimitPauseOf(response);
  if (pauseMs !== undefined) {
    return new TokenFailure(`responded with ${status} (its rate limit is used up)`, { retryAfterMs: pauseMs });
  }
  return refusalOf(response, reasonOf(response, subject));
}

function reasonOf({ status, headers }: EndpointResponse, subject: "owner" | "installation"): string | undefined {
  switch (status) {
    case 301:
    case 302:
    case 307:
    case 308:
      return `${subject === "owner" ? "the owner" : "the API"} has moved: redirects are not followed`;
    case 401:
      return describeSkew({ headers }) ?? "the app is not known by appId, or the private key is not one of its keys";
    case 403:
      return "the app may not do this";
    case 404:
      return subject === "owner"
        ? "the owner has not installed this app"
        : "this app has no such installation, or baseUrl is not that of the REST API";
    case 422:
      return "the installation does not have all of repositories and permissions";
    default:
      return undefined;
  }
}

/** https://docs.github.com/en/rest/using-the-rest-api/rate-limits-for-the-rest-api#exceeding-the-rate-limit */
function rateLimitPauseOf({ status, headers }: EndpointResponse): number | undefined {
  if (status !== 403 && status !== 429) return undefined;
  const pauseMs = retryAfterOf(headers["retry-after"]);
  if (pauseMs !== undefined) return pauseMs;
  const reset = headers["x-ratelimit-reset"];
  if (headers["x-ratelimit-remaining"] !== "0" || typeof reset !== "string" || !/^\d{1,12}$/.test(reset))
    return undefined;
  return retryAfterOf(new Date(Number(reset) * 1_000).toUTCString());
}
