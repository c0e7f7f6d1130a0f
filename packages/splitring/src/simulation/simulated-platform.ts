// A host's platform in one thread: domains are calls, time and chance follow from a seed.
import type { GuestProgram } from '@splitring/frontend';
import type {
  Domain,
  DomainExit,
  DomainHost,
  DomainKernel,
  DomId,
  Hypervisor,
  RunningDomain,
} from '@splitring/hypervisor';
import { InvariantError } from 'sharedarraybuffer-ring';
import { runDomainThread, type ThreadEnvironment } from '../domain/domain-thread.ts';
import type { ThreadBoot } from '../domain/thread-boot.ts';
import type { ControlChannel, HostPlatform } from '../host/platform.ts';
import type { SimulationScheduler } from './scheduler.ts';

type Spec = Parameters<DomainHost['start']>[0];

/** Runs domains in the calling thread, moved by a scheduler. Nothing blocks, so synchronous calls of guests throw. */
class InThreadDomainHost implements DomainHost {
  private readonly platform: SimulatedPlatform;

  constructor(platform: SimulatedPlatform) {
    this.platform = platform;
  }

  start(spec: Spec): RunningDomain {
    const removals: (() => void)[] = [];
    let kill: (exit: DomainExit) => void = () => {};
    const killed = new Promise<DomainExit>((resolve) => {
      kill = resolve;
    });
    const environment = this.platform.environment(spec.domid, spec.name, (remove) => removals.push(remove));
    const returned = runDomainThread(spec.boot as ThreadBoot, environment).then(
      (result): DomainExit => ({ kind: 'returned', message: 'the program came to its end', result }),
    );
    const stop = () => {
      for (const remove of removals.splice(0)) remove();
    };
    return {
      fence: Promise.race([returned, killed]).finally(stop),
      kill: () => {
        stop();
        kill({ kind: 'killed', message: 'the domain was destroyed' });
      },
    };
  }
}

/**
 * The platform of a simulation.
 *
 * @example
 * const scheduler = new SimulationScheduler(seed);
 * const platform = new SimulatedPlatform(scheduler, new Map([[programUrl, program]]));
 * const host = createHost(config, platform); // and scheduler.run(…) beside it
 */
export class SimulatedPlatform implements HostPlatform {
  readonly clock;
  readonly random;
  readonly domains: DomainHost = new InThreadDomainHost(this);
  readonly threadEntry = 'in-thread';
  private readonly scheduler: SimulationScheduler;
  private readonly programs: ReadonlyMap<string, GuestProgram>;
  private readonly built = new Map<DomId, { readonly hypervisor: Hypervisor; readonly domain: Domain }>();

  /** `programs`: guest programs by URL, loaded beforehand, since loading takes real time. */
  constructor(scheduler: SimulationScheduler, programs: ReadonlyMap<string, GuestProgram>) {
    this.scheduler = scheduler;
    this.clock = scheduler.clock;
    this.random = scheduler.random;
    this.programs = programs;
  }

  connect(hypervisor: Hypervisor, domain: Domain): ControlChannel {
    this.built.set(domain.domid, { hypervisor, domain });
    return { port: undefined, messages: () => 0, close: () => this.built.delete(domain.domid) };
  }

  accompany(kernel: DomainKernel): { readonly stop: () => void } {
    return { stop: this.scheduler.add('dom0', kernel) };
  }

  spinPolls(): number {
    return 0;
  }

  /** What a domain's thread finds around it. `onAdd` learns how to stop moving it. */
  environment(domid: DomId, name: string, onAdd: (remove: () => void) => void): ThreadEnvironment {
    return {
      attach: () => {
        const built = this.built.get(domid);
        if (built === undefined)
          throw new InvariantError('NOT_BUILT', `Cannot start domain ${domid}: it was not built`);
        return built.hypervisor.attachInThread(built.domain);
      },
      clock: this.clock,
      random: this.random,
      load: (program) => {
        const found = this.programs.get(program);
        if (found !== undefined) return Promise.resolve(found);
        return Promise.reject(new InvariantError('NOT_LOADED', `Cannot run ${program}: load it before the simulation`));
      },
      park: (kernel, isDone) =>
        new Promise((resolve) => {
          const remove = this.scheduler.add(name, kernel, () => {
            if (!isDone()) return;
            remove();
            resolve();
          });
          onAdd(remove);
        }),
      accompany: (kernel) => {
        const remove = this.scheduler.add(name, kernel);
        onAdd(remove);
        return { failed: new Promise<never>(() => {}), stop: remove };
      },
      pump: undefined,
    };
  }
}
