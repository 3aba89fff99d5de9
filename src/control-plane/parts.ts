/** What the routes of the control plane are made from, and what one of their requests carries. */
import type { HttpBindings } from "@hono/node-server";
import type { Hono } from "hono";
import type { Callers } from "../callers/callers.ts";
import type { Limiter } from "../limits/limiters.ts";
import type { ClientView } from "../perimeter/client-view.ts";
import type { Cors } from "../perimeter/cors.ts";
import type { Instance } from "../perimeter/instance.ts";
import type { OpenPlaneGuard } from "../perimeter/open-plane.ts";
import type { PressureMonitor } from "../pressure/monitor.ts";
import type { Registry } from "../registry/registry.ts";
import type { Logger } from "../telemetry/logger.ts";

export interface ControlPlaneParts {
  readonly instance: Instance;
  readonly callers: Callers;
  readonly clients: ClientView;
  readonly cors: Cors;
  readonly registry: Registry;
  readonly monitor: PressureMonitor;
  /** PRESSURE_RETRY_AFTER, s. */
  readonly retryAfterS: number;
  readonly limiterOf: (key: string) => Limiter | undefined;
  readonly logger: Logger;
  readonly guardOpenProxyPlane: OpenPlaneGuard;
  readonly guardOpenManagementPlane: OpenPlaneGuard;
}

export interface ControlEnv {
  Bindings: HttpBindings;
  Variables: { requestId: string };
}

export type ControlPlane = Hono<ControlEnv>;
