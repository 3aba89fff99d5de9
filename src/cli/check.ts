/** `byteproxy check [file]`: what a start would say of the configuration, without starting. */
import { resolve } from "node:path";
import { ConfigProblems } from "../config/problems.ts";
import { credentialState } from "../registry/credential-state.ts";
import { readConfiguration } from "./read-configuration.ts";
import { startFailure } from "./start-failure.ts";

export interface CheckOutcome {
  readonly text: string;
  /** 0 for a sound configuration, 2 for one with problems. */
  readonly exitCode: 0 | 2;
}

/** @param file in the place of CONFIG_FILE. @throws CliFailure for a DATA_DIR that cannot be read. */
export async function check(file: string | undefined, isJson: boolean): Promise<CheckOutcome> {
  try {
    const commandLine: Record<string, string> = file === undefined ? {} : { CONFIG_FILE: resolve(file) };
    const { services, warnings } = await readConfiguration(commandLine);
    const found = [...services.values()].map((service) => ({ key: service.key, credential: credentialState(service) }));
    const lines = [
      ...warnings.map((line) => `warning: ${line}`),
      `The configuration is sound: ${found.length} services.`,
    ];
    return {
      text: isJson ? json({ ok: true, problems: [], warnings, services: found }) : lines.join("\n"),
      exitCode: 0,
    };
  } catch (error) {
    if (!(error instanceof ConfigProblems)) throw startFailure(error);
    const { problems } = error;
    return {
      text: isJson ? json({ ok: false, problems, warnings: [], services: [] }) : problems.join("\n"),
      exitCode: 2,
    };
  }
}

const json = (value: unknown) => JSON.stringify(value, null, 2);
