/** The pause before a retry. It ends early where the client leaves, and when the gateway drains. */
import type { Exchange } from "../exchange.ts";
import type { PreparedService } from "../prepared-service.ts";

/** Resolves to false where the client left in the meantime. */
export function pauseUnlessGone(ms: number, exchange: Exchange, { transport }: PreparedService): Promise<boolean> {
  return new Promise((resolve) => {
    const end = (isThere: boolean) => {
      clearTimeout(timer);
      stopListening();
      exchange.onClose = undefined;
      resolve(isThere);
    };
    const timer = setTimeout(end, ms, true);
    const stopListening = transport.onDrain(() => end(true));
    exchange.onClose = () => end(false);
  });
}
