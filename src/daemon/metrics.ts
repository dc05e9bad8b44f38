/** The same figures as `samepage status`, for Prometheus; gathered at each scrape. */
import { Counter, Gauge, Registry } from 'prom-client'
import { OPCODE_ROWS } from '../fuse/protocol.ts'
import type { MountArena } from './content/mount-arena.ts'
import type { GrantsDoor } from './grants/grants-door.ts'
import type { GrantsReport } from './grants/mount-grants.ts'
import type { RequestStats } from './request-stats.ts'
import { cachedBytesOf, type DaxReport, type Status, type StatusParts } from './status.ts'

export class Metrics {
  readonly #registry = new Registry()

  constructor(status: Status, parts: StatusParts) {
    const { inodes, keeper, stats, watch, placement, arena, contents, direct, threads, grants } = parts
    const registers = [this.#registry]
    const gauge = this.#gauge.bind(this)
    const counter = this.#counter.bind(this)

    gauge('homes', 'Homes that exist', () => keeper.families.statistics().homes)
    gauge('homes_in_use', 'Homes that an open file is served from', () => status.homesInUse())
    gauge('families', 'Families of files that share a home', () => keeper.families.statistics().families)
    gauge('home_cached_bytes', 'Page cache of all homes', () => cachedBytesOf(status.cachedHomes()))
    gauge('native_cached_bytes', 'What the same pages would take without sharing', () =>
      status.nativeBytes(status.cachedHomes()),
    )
    gauge('known_inodes', 'Inodes that the kernel knows', () => inodes.count)
    gauge('resident_bytes', 'Memory of the serving process', () => status.resident.bytes)
    counter('worker_restarts', 'Threads that died and were replaced', () => threads.restarts)
    if (watch !== undefined) {
      counter('watch_events', 'Changes on the source’s file system by others than the daemon', () => watch.events)
      counter('watch_overflows', 'Times that the queue of changes ran over', () => watch.overflows)
      counter('watch_notices', 'Names and inodes that the kernel was told to ask about again', () => watch.notices)
    }
    if (placement !== undefined) {
      counter(
        'near_pages_looked',
        'Pages of homes of which the kernel was asked where they lie',
        () => placement.looked,
      )
      counter('near_pages_elsewhere', 'Of them, those that lay on another NUMA node', () => placement.elsewhere)
      counter('near_pages_moved', 'Of those, the ones that were moved to the mount’s node', () => placement.moved)
      counter('near_pages_read_ahead', 'Pages of homes that were read before anybody asked', () => placement.read)
    }

    if (grants !== undefined) this.#addGrants(grants)
    if (contents !== undefined) {
      const merge = () => contents.statistics()
      gauge('arena_bytes', 'Memory that pages in the arena and their indexes take', () => {
        const { pageBytes, indexBytes } = merge()
        return pageBytes + indexBytes
      })
      gauge('arena_max_bytes', 'Memory that they may take now', () => merge().memoryMax)
      gauge('merge_pages_shared', 'Pages in the arena that stand for several', () => merge().pagesShared)
      gauge('merge_pages_sharing', 'Further pages that are found in those', () => merge().pagesSharing)
      gauge('merge_pages_unshared', 'Pages that were looked at and have no equal', () => merge().pagesUnshared)
      gauge('merge_pages_volatile', 'Pages that the last full scan left alone', () => merge().pagesVolatile)
      counter('merge_full_scans', 'Passes of the scan over the arena', () => merge().fullScans)
      counter('merge_seconds', 'Time spent on looking for equal pages', () => merge().timeMs / 1000)
      counter('arena_evicted_pages', 'Pages that had to go to make room', () => merge().evicted)
      counter('arena_loaded_bytes', 'Bytes read into the arena', () => merge().bytesLoaded)
    }
    if (direct !== undefined) this.#addDax(() => status.dax()!)
    if (arena?.replicaStatistics() !== undefined) this.#addNuma(arena, stats)

    new Gauge({
      name: 'samepage_files',
      help: 'Files with a decision, by how they are served',
      labelNames: ['served'],
      registers,
      collect() {
        const { private: own, pristine, mapped } = status.files()
        this.set({ served: 'private' }, own)
        this.set({ served: 'pristine' }, pristine)
        this.set({ served: 'mapped' }, mapped)
      },
    })
    new Counter({
      name: 'samepage_read_bytes_total',
      help: 'Bytes read by the daemon, by what held them',
      labelNames: ['from'],
      registers,
      collect() {
        this.reset()
        const { fromHomes, fromFiles, fromArena } = status.bytesRead()
        this.inc({ from: 'homes' }, fromHomes)
        this.inc({ from: 'files' }, fromFiles)
        if (fromArena !== undefined) this.inc({ from: 'arena' }, fromArena)
      },
    })
    for (const [name, help, value] of [
      ['requests_total', 'Requests of the kernel', 'count'],
      ['request_errors_total', 'Requests answered with an error', 'errors'],
      ['request_seconds_total', 'Time spent on requests', 'seconds'],
    ] as const)
      new Counter({
        name: `samepage_${name}`,
        help,
        labelNames: ['operation'],
        registers,
        collect() {
          this.reset()
          for (const { code, name: operation } of OPCODE_ROWS) {
            const figures = stats.opcode(code)
            if (figures.count > 0) this.inc({ operation: operation.toLowerCase() }, figures[value])
          }
        },
      })
  }

  #gauge(name: string, help: string, value: () => number): void {
    new Gauge({
      name: `samepage_${name}`,
      help,
      registers: [this.#registry],
      collect() {
        this.set(value())
      },
    })
  }

  #counter(name: string, help: string, value: () => number): void {
    new Counter({
      name: `samepage_${name}_total`,
      help,
      registers: [this.#registry],
      collect() {
        this.reset()
        this.inc(value())
      },
    })
  }

  #addDax(dax: () => DaxReport): void {
    this.#gauge('dax_homes', 'Homes that are read on their device', () => dax().homes)
    this.#gauge('dax_direct_pages', 'Pages of homes that are read on their device', () => dax().directPages)
    this.#gauge('dax_promoted_bytes', 'Memory of copies of what is read often there', () => dax().promotedBytes)
    this.#counter('dax_direct_hits', 'Pages read on their device, each time counted', () => dax().directHits)
    this.#counter('dax_promotions', 'Pages that were copied to main memory', () => dax().promotions)
    this.#counter('dax_demotions', 'Copies of them that had to go', () => dax().demotions)
  }

  #addNuma(arena: MountArena, stats: RequestStats): void {
    const registers = [this.#registry]
    new Gauge({
      name: 'samepage_arena_node_bytes',
      help: 'Memory of the arena on each NUMA node, as the kernel says',
      labelNames: ['node'],
      registers,
      collect() {
        this.reset()
        for (const [node, bytes] of Object.entries(arena.numaStatistics()!.bytesByNode)) this.set({ node }, bytes)
      },
    })
    const replicas = () => arena.replicaStatistics()!
    this.#gauge('replica_bytes', 'Memory of replicas in the arena', () => replicas().replicaBytes)
    this.#counter('replicas_made', 'Replicas made of pages in the arena', () => replicas().replicasMade)
    this.#counter('replicas_collapsed', 'Replicas given up because their page was', () => replicas().replicasCollapsed)
    this.#counter(
      'arena_far_bytes',
      'Bytes read from the arena that lay on another NUMA node than the worker',
      () => stats.bytesFromAfar,
    )
  }

  #addGrants(grants: GrantsDoor): void {
    const registers = [this.#registry]
    for (const [name, help, value] of [
      ['held', 'Ranges of files that are exclusively somebody’s', ({ held }) => held.length],
      ['wanted', 'Grants that somebody waits for', ({ wanted }) => wanted],
      ['waiting_requests', 'Reads and writes that wait for a grant to end', ({ waiting }) => waiting],
    ] as const satisfies readonly (readonly [string, string, (report: GrantsReport) => number])[])
      new Gauge({
        name: `samepage_grants_${name}`,
        help,
        registers,
        async collect() {
          this.set(value(await grants.report()))
        },
      })
    new Counter({
      name: 'samepage_grants_total',
      help: 'Grants, by what became of the wish',
      labelNames: ['outcome'],
      registers,
      async collect() {
        const { granted, published, taken, refused } = await grants.report()
        this.reset()
        for (const [outcome, count] of Object.entries({ granted, published, taken, refused }))
          this.inc({ outcome }, count)
      },
    })
  }

  get contentType(): string {
    return this.#registry.contentType
  }

  text(): Promise<string> {
    return this.#registry.metrics()
  }
}
