/**
 * Names are resolved by the operating system on a few threads that the whole process shares, files included, and a question cannot
 * be taken back. Invariant: one question for a name at a time, however many connections wait for it or were given up; so a name
 * server that keeps silent about one service's name does not stop all others.
 */
import type { Resolve } from "./egress.ts";

export function shareLookups(resolve: Resolve): Resolve {
  const underWay = new Map<string, Parameters<Resolve>[2][]>();
  return (hostname, options, callback) => {
    const question = `${hostname} ${options.family ?? 0} ${options.hints ?? 0}`;
    const waiting = underWay.get(question);
    if (waiting !== undefined) {
      waiting.push(callback);
      return;
    }
    const callbacks = [callback];
    underWay.set(question, callbacks);
    try {
      resolve(hostname, options, (error, found) => {
        underWay.delete(question);
        for (const each of callbacks) each(error, found);
      });
    } catch (error) {
      // Nobody will be called back: whoever comes next must ask anew.
      underWay.delete(question);
      throw error;
    }
  };
}
