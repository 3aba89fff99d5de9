/** The command line of `npm run chaos`. */
import { parseArgs } from "node:util";
import { faults } from "./chaos.ts";
import type { Fault } from "./fault.ts";

export interface Options {
  readonly faults: readonly Fault[];
  readonly soakMs: number;
  /** Requests a second on the affected service, half as many on its neighbour. */
  readonly perSecond: number;
  readonly json: boolean;
}

export const USAGE = `npm run chaos -- [--minutes 10] [--rate 200] [--only <fault>,<fault>] [--json]
faults: ${faults.map(({ name }) => name).join(", ")}`;

/** @throws an Error with a message for the user. */
export function readOptions(args: readonly string[]): Options {
  const { values } = parseArgs({
    args: [...args],
    options: {
      minutes: { type: "string" },
      rate: { type: "string" },
      only: { type: "string" },
      json: { type: "boolean", default: false },
    },
  });
  return {
    faults: values.only?.split(",").map(faultOf) ?? faults,
    soakMs: values.minutes === undefined ? 0 : positive("--minutes", values.minutes) * 60_000,
    // A long run leaves CPU for other programs.
    perSecond: positive("--rate", values.rate ?? (values.minutes === undefined ? "200" : "100")),
    json: values.json,
  };
}

function faultOf(name: string): Fault {
  const fault = faults.find((known) => known.name === name.trim());
  if (fault === undefined) throw new Error(`there is no fault named ${name}`);
  return fault;
}

function positive(name: string, text: string): number {
  const value = Number(text);
  if (!(value > 0)) throw new Error(`${name} must be a number above 0, not ${text}`);
  return value;
}
