/** The headers of a request whose response is read. */
import { BODY_DIGESTS } from "../credential/form-body.ts";
import type { Exchange } from "../exchange.ts";

/** Asks the upstream for a response that can be read. @param headers a flat list, changed in place. */
export function requestReadable(headers: string[], { isBodyChanged }: Pick<Exchange, "isBodyChanged">): void {
  for (let i = headers.length - 2; i >= 0; i -= 2) {
    const name = (headers[i] as string).toLowerCase();
    if (name === "accept-encoding" || (isBodyChanged && BODY_DIGESTS.includes(name))) headers.splice(i, 2);
  }
  headers.push("Accept-Encoding", "identity");
}
