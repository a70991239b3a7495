// The franz-go client on the same work as ../c/producer.c, whose options and line of JSON it has.
//
//	build/franz-go --bootstrap HOST:PORT --topic T --records N [options]     (build.sh makes it)
//
// Differences: kgo has one way to produce, so --mode single and batch are the same (--batch and --librdkafka are taken
// and not used); there is no embedded broker; --config knows the properties in clientOptions. What is not given is as
// librdkafka's defaults have it: writes are not idempotent and as many requests in flight as there are, where kgo alone
// would be idempotent, or without that keep one request per broker in flight.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"math"
	"math/bits"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	failed        = 1
	usage         = 2
	recordsAKey   = 4
	latencySample = 8 // without a rate one record in so many has its latency measured: two clock calls and a closure
	warmTime      = 30 * time.Second
)

func fail(status int, format string, arguments ...any) {
	fmt.Fprintf(os.Stderr, "franz-go: "+format+"\n", arguments...)
	os.Exit(status)
}

// options are the command line's; throughput in records/s, 0 for as fast as it goes.
type options struct {
	bootstrap, topic       string
	records, size, keySize int
	throughput             float64
	kgo                    []kgo.Opt
}

func parse(arguments []string) options {
	var o options
	var properties []string
	flags := flag.NewFlagSet("franz-go", flag.ExitOnError) // which ends with 2
	flags.StringVar(&o.bootstrap, "bootstrap", "", "HOST:PORT")
	flags.StringVar(&o.topic, "topic", "", "name of the topic")
	flags.IntVar(&o.records, "records", 0, "number of records")
	flags.IntVar(&o.size, "size", 277, "bytes of a payload")
	flags.IntVar(&o.keySize, "key-size", 25, "bytes of a key, 0 for none")
	flags.Float64Var(&o.throughput, "throughput", 0, "records per second (as fast as it goes)")
	linger := flags.Float64("linger-ms", 5, "milliseconds a batch waits for more")
	acks := flags.String("acks", "all", "all, 1 or 0")
	mode := flags.String("mode", "single", "single or batch: the same here")
	batch := flags.Int("batch", 512, "not used")
	_ = flags.String("librdkafka", "", "not used")
	flags.Func("config", "name=value ...", func(property string) error {
		properties = append(properties, property)
		return nil
	})
	flags.Parse(oneValueEach(arguments))
	rate := false
	flags.Visit(func(f *flag.Flag) { rate = rate || f.Name == "throughput" })
	switch {
	case flags.NArg() > 0:
		fail(usage, "nothing is known of '%s'", flags.Arg(0))
	case o.bootstrap == "" || o.topic == "" || o.records < 1:
		fail(usage, "--bootstrap, --topic and --records (1 or more) are needed")
	case o.bootstrap == "embedded":
		fail(usage, "there is no embedded broker for franz-go: give --bootstrap HOST:PORT")
	case o.size < 1 || o.keySize < 0 || *batch < 1 || !(*linger >= 0):
		fail(usage, "--size, --key-size, --batch or --linger-ms is out of range")
	case rate && !(o.throughput >= 0.001 && o.throughput <= 1e9):
		fail(usage, "--throughput takes records per second, 0.001 to 1e9")
	case *mode != "single" && *mode != "batch":
		fail(usage, "--mode is single or batch, not '%s'", *mode)
	}
	made, err := clientOptions(*acks, properties)
	if err != nil {
		fail(usage, "%v", err)
	}
	o.kgo = append(made,
		kgo.SeedBrokers(strings.Split(o.bootstrap, ",")...),
		kgo.DefaultProduceTopic(o.topic),
		kgo.AllowAutoTopicCreation(),
		kgo.ProducerLinger(time.Duration(*linger*float64(time.Millisecond))),
	)
	return o
}

// oneValueEach makes "--config a=1 b=2" into "--config a=1 --config b=2".
func oneValueEach(arguments []string) []string {
	var out []string
	values := -1 // of the --config before; -1 after another option
	for _, word := range arguments {
		switch {
		case word == "--config" || word == "-config":
			values = 0
		case strings.HasPrefix(word, "-"):
			values = -1
		case values >= 0:
			if values++; values > 1 {
				out = append(out, "--config")
			}
		}
		out = append(out, word)
	}
	return out
}

// clientOptions are acks and librdkafka's properties as kgo has them; an error for those it has not.
func clientOptions(acks string, properties []string) ([]kgo.Opt, error) {
	set := map[string]string{
		"acks":                         acks,
		"enable.idempotence":           "false",
		"compression.type":             "none",
		"queue.buffering.max.messages": "100000",
		"max.in.flight":                "1000000",
	}
	same := map[string]string{
		"compression.codec":                     "compression.type",
		"request.required.acks":                 "acks",
		"max.in.flight.requests.per.connection": "max.in.flight",
	}
	for _, property := range properties {
		name, value, found := strings.Cut(property, "=")
		if !found || name == "" {
			return nil, fmt.Errorf("--config takes name=value, not '%s'", property)
		}
		if other, ok := same[name]; ok {
			name = other
		}
		set[name] = value
	}
	ackOptions := map[string]kgo.Acks{
		"all": kgo.AllISRAcks(), "-1": kgo.AllISRAcks(), "1": kgo.LeaderAck(), "0": kgo.NoAck(),
	}
	codecs := map[string]kgo.CompressionCodec{
		"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(),
		"lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
	}
	var made []kgo.Opt
	for name, value := range set {
		number, notNumber := strconv.ParseInt(value, 10, 31)
		numeric := notNumber == nil && number > 0
		codec, isCodec := codecs[value]
		ack, isAck := ackOptions[value]
		switch {
		case name == "acks" && isAck:
			made = append(made, kgo.RequiredAcks(ack))
		case name == "enable.idempotence" && value == "true":
		case name == "enable.idempotence" && value == "false":
			made = append(made, kgo.DisableIdempotentWrite())
		case name == "compression.type" && isCodec:
			made = append(made, kgo.ProducerBatchCompression(codec))
		case name == "queue.buffering.max.messages" && numeric:
			made = append(made, kgo.MaxBufferedRecords(int(number)))
		case name == "queue.buffering.max.kbytes" && numeric:
			made = append(made, kgo.MaxBufferedBytes(int(number)*1024))
		case name == "batch.size" && numeric:
			made = append(made, kgo.ProducerBatchMaxBytes(int32(number)))
		case name == "max.in.flight" && set["enable.idempotence"] == "true": // kgo's own, 5
		case name == "max.in.flight" && numeric:
			made = append(made, kgo.MaxProduceRequestsInflightPerBroker(int(number)))
		default:
			return nil, fmt.Errorf("franz-go has no --config %s=%s", name, value)
		}
	}
	return made, nil
}

// histogram is log-linear as in ext/pykafkaevt/counters.h: exact below 64 us, then 32 steps per power of two (3 %).
type histogram struct {
	steps   [64 + 34*32]uint64
	largest uint64 // us, exact
}

func (h *histogram) add(latency time.Duration) {
	us := uint64(max(latency.Microseconds(), 0))
	step := us
	if us >= 64 {
		shift := uint64(58 - bits.LeadingZeros64(us))
		step = min(64+(shift-1)*32+us>>shift-32, uint64(len(h.steps)-1))
	}
	h.steps[step]++
	h.largest = max(h.largest, us)
}

// quantile is the value in us that the share (0 to 1) of what was added does not exceed; 0 when empty.
func (h *histogram) quantile(share float64) uint64 {
	var total, seen uint64
	for _, count := range h.steps {
		total += count
	}
	for step, count := range h.steps {
		if seen += count; seen > 0 && float64(seen) >= share*float64(total) {
			value := uint64(step)
			if step >= 64 {
				shift := (step-64)/32 + 1
				value = uint64((step-64)%32+33)<<shift - 1
			}
			return min(value, h.largest)
		}
	}
	return h.largest
}

// makeRecords gives the payload, and a function with the key of record n, all made before.
func makeRecords(o options) (payload []byte, key func(int) []byte) {
	const head, tail = `{"jsonrpc":"2.0","method":"E_SIP","params":{"data":"`, `"}}`
	payload = []byte(strings.Repeat("0", o.size))
	if o.size >= len(head)+len(tail) {
		copy(payload, head)
		for i := len(head); i < o.size-len(tail); i++ {
			payload[i] = byte('a' + i*7%26)
		}
		copy(payload[o.size-len(tail):], tail)
	}
	if o.keySize == 0 {
		return payload, func(int) []byte { return nil }
	}
	// as a Call-ID: 16 digits that differ, and a host; cut or repeated to the size
	keys := make([]byte, 0, (o.records/recordsAKey+1)*o.keySize)
	for n := 0; n <= o.records/recordsAKey; n++ {
		callID := fmt.Sprintf("%016x@10.1.2.3", uint64(n)*0x9e3779b97f4a7c15)
		keys = append(keys, strings.Repeat(callID, o.keySize/len(callID)+1)[:o.keySize]...)
	}
	return payload, func(n int) []byte {
		at := n / recordsAKey * o.keySize
		return keys[at : at+o.keySize : at+o.keySize]
	}
}

func cpuAndPeak() (cpu time.Duration, peakKB int64) {
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		fail(failed, "getrusage: %v", err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano()), used.Maxrss
}

func main() {
	o := parse(os.Args[1:])
	client, err := kgo.NewClient(o.kgo...)
	if err != nil {
		fail(usage, "%v", err)
	}
	defer client.Close()
	payload, key := makeRecords(o)
	ctx := context.Background()

	// one record first: connections and the topic's partitions are there when the clock starts
	warm, cancel := context.WithTimeout(ctx, warmTime)
	if err := client.ProduceSync(warm, kgo.SliceRecord([]byte("warm"))).FirstErr(); err != nil {
		fail(failed, "%s took no record within %v: %v", o.bootstrap, warmTime, err)
	}
	cancel()

	// kgo calls promises one after another: what they write needs no lock
	var latencies histogram
	var refused, reported int
	var lastError error
	last := make(chan struct{})
	report := func(_ *kgo.Record, err error) {
		if err != nil {
			refused++
			lastError = err
		}
		if reported++; reported == o.records {
			close(last)
		}
	}
	measured := func(since time.Time) func(*kgo.Record, error) {
		return func(record *kgo.Record, err error) {
			latencies.add(time.Since(since))
			report(record, err)
		}
	}

	before, _ := cpuAndPeak()
	started := time.Now()
	for n := range o.records {
		promise := report
		if o.throughput > 0 {
			due := started.Add(time.Duration(float64(n) / o.throughput * 1e9))
			if early := time.Until(due); early > 0 {
				time.Sleep(early)
			}
			promise = measured(due)
		} else if n%latencySample == 0 {
			promise = measured(time.Now())
		}
		client.Produce(ctx, kgo.KeySliceRecord(key(n), payload), promise)
	}
	if err := client.Flush(ctx); err != nil {
		fail(failed, "flush: %v", err)
	}
	<-last
	seconds := time.Since(started).Seconds()
	after, peak := cpuAndPeak()

	line, err := json.Marshal(map[string]any{
		"records":           o.records,
		"seconds":           math.Round(seconds*1e6) / 1e6,
		"cpu_us_per_record": math.Round((after-before).Seconds()*1e10/float64(o.records)) / 1e4,
		"latency_us": map[string]uint64{
			"p50": latencies.quantile(0.5), "p90": latencies.quantile(0.9), "p99": latencies.quantile(0.99),
			"p99.9": latencies.quantile(0.999), "max": latencies.largest,
		},
		"failed": refused,
		"rss_kb": peak,
	})
	if err != nil {
		fail(failed, "%v", err)
	}
	fmt.Println(string(line))
	if refused > 0 {
		fail(failed, "%d of %d records were not delivered: %v", refused, o.records, lastError)
	}
}
