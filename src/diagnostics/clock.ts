/** Whether this machine's clock is right, judged by what the upstreams say in `Date`. */
import { type Check, conclude } from "./check.ts";

const FINDS = {
  wrong: {
    status: "fail",
    symptom: "certificates seem expired or not valid yet, tokens and signatures are refused",
    fix: "Set this machine's clock (NTP); a container has the clock of its host.",
  },
  off: {
    status: "warn",
    symptom: "resets of limits and expiries of tokens come too early or too late",
    fix: "Set this machine's clock (NTP); a container has the clock of its host.",
  },
} as const;

const OFF_S = 30;
const WRONG_S = 300;

export const clock: Check = {
  id: "clock",
  needs: "configuration",
  looksAt: "the difference to the clocks of the upstreams, the median of all that tell the time",
  finds: FINDS,
  async run({ services }, looks) {
    const embedded = new Set(services().flatMap(({ service }) => (service.embedded ? [service.key] : [])));
    const told = (await looks.all()).filter(
      ({ service, clockDifference }) => clockDifference !== null && !embedded.has(service),
    );
    const differences = told.map(({ clockDifference }) => clockDifference as number).sort((a, b) => a - b);
    // Of an even count the one that blames this machine less.
    const middle = [differences[(differences.length - 1) >> 1], differences[differences.length >> 1]];
    const [median] = middle.flatMap((each) => each ?? []).sort((a, b) => Math.abs(a) - Math.abs(b));
    const evidence = {
      now: new Date().toISOString(),
      differences: Object.fromEntries(told.map(({ service, clockDifference }) => [service, clockDifference])),
    };
    if (median === undefined) return conclude([], "no upstream told the time", evidence);
    const words = `this machine's clock is ${Math.abs(median)} s ${median > 0 ? "behind" : "ahead of"} that of the upstreams`;
    if (Math.abs(median) >= WRONG_S) return conclude([{ find: FINDS.wrong, words }], "", evidence);
    return conclude(
      Math.abs(median) >= OFF_S ? [{ find: FINDS.off, words }] : [],
      "it agrees with the upstreams",
      evidence,
    );
  },
};
