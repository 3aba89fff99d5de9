/** Measures one workload: starts its contestants as new processes, runs the rounds, and ends them. */
import { join } from "node:path";
import { assertEverythingIsOn, assertLogged } from "./assert-gateway.ts";
import { type Certificate, createCertificate } from "./certificate.ts";
import { type RunningGateway, startGateway } from "./gateway.ts";
import { CONNECTIONS, type Contestant, type Load, type Measured, measure } from "./measure.ts";
import { isNginxInstalled, startNginx } from "./nginx.ts";
import type { Options } from "./options.ts";
import { type Processes, type RunningServer, stop } from "./processes.ts";
import type { Origin } from "./start-origin.ts";
import type { ContestantName, Workload } from "./workloads/workload.ts";

/** What all workloads share. */
export interface Stage {
  readonly processes: Processes;
  /** The checkout that is measured. */
  readonly root: string;
  /** The folder with the compiled benchmark. */
  readonly compiled: string;
  readonly load: Load;
}

export async function runContest(
  stage: Stage,
  workload: Workload,
  origin: Origin,
  options: Options,
): Promise<Measured[]> {
  const contestants: Contestant[] = [];
  const isSecure = workload.secureSide === "load";
  const certificate = isSecure ? createCertificate(stage.processes.folder, "contestants") : undefined;
  const caFile = certificate?.certFile;
  const gateways = new Map<ContestantName, RunningGateway>();
  for (const name of contestantsOf(workload, options)) {
    const root = rootOf(name, stage, options);
    if (root === undefined) {
      contestants.push({ name, server: await startPeer(stage, name, origin, certificate), prefix: "", caFile });
      continue;
    }
    const option = name === "gateway" ? workload.option : undefined;
    const gateway = await startGateway(stage.processes, root, origin, { certificate, option });
    await assertEverythingIsOn(gateway);
    gateways.set(name, gateway);
    contestants.push({ name, server: gateway, prefix: "/proxy/origin", caFile });
  }
  if (contestants.length === 0) return [];
  const measured = await measure(workload, contestants, stage.load, options);
  for (const [name, gateway] of gateways) {
    const { rounds } = measured.find((one) => one.name === name)!;
    const units = rounds.reduce((sum, round) => sum + round.units, 0);
    await assertLogged(gateway, workload.isLongLived ? rounds.length * CONNECTIONS : units);
  }
  await Promise.all(contestants.map(({ server }) => stop(server.child)));
  return measured;
}

function contestantsOf({ contestants }: Workload, { only, against }: Options): ContestantName[] {
  return contestants.filter((name) => {
    if (name === "against") return against !== undefined;
    return only.includes(name) && (name !== "nginx" || isNginxInstalled());
  });
}

/** The checkout of a contestant that is a gateway. */
function rootOf(name: ContestantName, { root }: Stage, { against }: Options): string | undefined {
  if (name === "against") return against;
  return name === "gateway" || name === "plain" ? root : undefined;
}

function startPeer(
  { processes, compiled }: Stage,
  name: ContestantName,
  origin: Origin,
  certificate: Certificate | undefined,
): Promise<RunningServer> {
  if (name === "nginx") return startNginx(processes, origin, certificate);
  return processes.startServer(join(compiled, "contestants", `${name}.js`), { origin, certificate });
}
