/** `byteproxy doctor`: its words and its help. What it does is in `doctor.ts`, loaded when it runs. */
import { type Command, Option } from "commander";
import type { DiagnoseAtRest } from "./checks-at-rest.ts";
import type { ExitCode } from "./cli-failure.ts";
import { ABOUT_THE_GATEWAY, withGateway } from "./common-options.ts";
import type { DoctorOptions } from "./doctor.ts";

/** @param run takes up its exit code. */
export function addDoctorCommand(
  program: Command,
  run: (command: () => Promise<ExitCode>) => Promise<void>,
  diagnoseAtRest: DiagnoseAtRest,
): void {
  withGateway(program.command("doctor"))
    .description("run all checks of the running gateway, or of what a start here would meet; exit code 1 if one fails")
    .option("--bundle <file.json>", "write what to send when asking for help to a new file: no secret is in it")
    .addOption(
      new Option("--offline", "ask no gateway: look at what a start in this folder would meet").conflicts("url"),
    )
    .addHelpText("after", `${EXAMPLES}\n${ABOUT_THE_GATEWAY}`)
    .action((options: DoctorOptions) => run(async () => (await import("./doctor.ts")).doctor(options, diagnoseAtRest)));
}

const EXAMPLES = `
Where no gateway answers, the checks look at what a start in this folder would meet: configuration, address, DATA_DIR,
upstreams, credentials. Those that only a running gateway can answer are left out, by name.

Examples:
  byteproxy doctor
  byteproxy doctor --json | jq '.checks[] | select(.status != "ok")'
  byteproxy doctor --bundle help.json`;
