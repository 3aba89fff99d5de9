/** Checks this machine's clock against the `Date` headers of the upstreams. */
import { type Check, conclude } from "./check.ts";

const FINDINGS = {
  wrong: {
    status: "fail",
    symptom: "certificates seem to be expired or not valid yet; tokens and signatures are refused",
    fix: "Set this machine's clock (NTP). A container uses the clock of its host.",
  },
  off: {
    status: "warn",
    symptom: "limits reset, and tokens expire, too early or too late",
    fix: "Set this machine's clock (NTP). A container uses the clock of its host.",
  },
} as const;

const OFF_S = 30;
const WRONG_S = 300;

export const clock: Check = {
  id: "clock",
  needs: "configuration",
  inspects: "the difference between this machine's clock and those of the upstreams (the median)",
  findings: FINDINGS,
  async run({ services }, probes) {
    const embedded = new Set(services().flatMap(({ service }) => (service.embedded ? [service.key] : [])));
    const dated = (await probes.all()).filter(
      ({ service, clockDifference }) => clockDifference !== null && !embedded.has(service),
    );
    const differences = dated.map(({ clockDifference }) => clockDifference as number).sort((a, b) => a - b);
    // Of an even number of values there are two in the middle: the smaller difference counts.
    const middle = [differences[(differences.length - 1) >> 1], differences[differences.length >> 1]];
    const [median] = middle.flatMap((each) => each ?? []).sort((a, b) => Math.abs(a) - Math.abs(b));
    const evidence = {
      now: new Date().toISOString(),
      differences: Object.fromEntries(dated.map(({ service, clockDifference }) => [service, clockDifference])),
    };
    if (median === undefined) return conclude([], "no response had a Date header", evidence);
    const message = `this machine's clock is ${Math.abs(median)} s ${median > 0 ? "behind" : "ahead of"} the upstreams' clocks`;
    if (Math.abs(median) >= WRONG_S) return conclude([{ finding: FINDINGS.wrong, message }], "", evidence);
    return conclude(
      Math.abs(median) >= OFF_S ? [{ finding: FINDINGS.off, message }] : [],
      "this machine's clock agrees with the upstreams' clocks",
      evidence,
    );
  },
};
