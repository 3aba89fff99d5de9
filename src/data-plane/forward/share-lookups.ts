/**
 * The operating system resolves names on a few threads that the whole process shares, file access included, and a lookup cannot be
 * canceled. So there is one lookup for a name at a time, however many connections wait for it: a silent name server of one
 * service does not stop the others.
 */
import type { Resolve } from "./dialing.ts";

export function shareLookups(resolve: Resolve): Resolve {
  const pending = new Map<string, Parameters<Resolve>[2][]>();
  return (hostname, options, callback) => {
    const lookupKey = `${hostname} ${options.family ?? 0} ${options.hints ?? 0}`;
    const waiting = pending.get(lookupKey);
    if (waiting !== undefined) {
      waiting.push(callback);
      return;
    }
    const callbacks = [callback];
    pending.set(lookupKey, callbacks);
    try {
      resolve(hostname, options, (error, found) => {
        pending.delete(lookupKey);
        for (const each of callbacks) each(error, found);
      });
    } catch (error) {
      // No callback will come, so the next lookup must start again.
      pending.delete(lookupKey);
      throw error;
    }
  };
}
