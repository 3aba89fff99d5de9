/** The command line of `npm run bench`. */
import { resolve } from "node:path";
import { parseArgs } from "node:util";
import { CONTESTANTS, type ContestantName, type Workload } from "./workloads/workload.ts";
import { workloads } from "./workloads/workloads.ts";

export interface Options {
  readonly rounds: number;
  readonly seconds: number;
  readonly warmUpSeconds: number;
  readonly workloads: readonly Workload[];
  readonly only: readonly ContestantName[];
  /** The checkout whose built gateway is measured too. */
  readonly against: string | undefined;
  readonly extras: boolean;
  /** False if anything was left out, added or shortened: such results are not committed. */
  readonly complete: boolean;
}

const WORKLOADS = workloads.map(({ name }) => name);
/** `--against` selects the other gateway. */
const SELECTABLE = CONTESTANTS.filter((name) => name !== "against");

export const USAGE = `npm run bench -- [--workload ${WORKLOADS.join(",")}] [--only ${SELECTABLE.join(",")}]
  [--against <folder of another built checkout>] [--rounds 9] [--seconds 1] [--quick] [--skip-extras]`;

/** @throws an Error with a message for the user. */
export function readOptions(args: readonly string[]): Options {
  const { values } = parseArgs({
    args: [...args],
    options: {
      workload: { type: "string" },
      only: { type: "string" },
      against: { type: "string" },
      rounds: { type: "string" },
      seconds: { type: "string" },
      quick: { type: "boolean", default: false },
      "skip-extras": { type: "boolean", default: false },
    },
  });
  const { quick, only, workload, against } = values;
  const extras = !values["skip-extras"];
  const names = workload === undefined ? WORKLOADS : selected("--workload", workload, WORKLOADS);
  return {
    rounds: positive("--rounds", values.rounds ?? (quick ? "3" : "9")),
    seconds: positive("--seconds", values.seconds ?? "1"),
    warmUpSeconds: quick ? 2 : 3,
    workloads: workloads.filter(({ name }) => names.includes(name)),
    only: only === undefined ? SELECTABLE : selected("--only", only, SELECTABLE),
    // npm runs the script in the folder of package.json; the user means their own.
    against: against === undefined ? undefined : resolve(process.env.INIT_CWD ?? ".", against),
    extras,
    complete: !quick && extras && [only, workload, against].every((value) => value === undefined),
  };
}

function positive(name: string, text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1)
    throw new Error(`${name} must be a whole number of at least 1, not ${text}`);
  return value;
}

function selected<T extends string>(option: string, text: string, known: readonly T[]): T[] {
  return text.split(",").map((part) => {
    const name = known.find((one) => one === part.trim());
    if (name === undefined) throw new Error(`${option} accepts ${known.join(", ")}, not ${part}`);
    return name;
  });
}
