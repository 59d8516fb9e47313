#include "graphs.h"

#include <stdexcept>

namespace atb_speed {
namespace strict {
namespace {

constexpr uint32_t X = 0;
constexpr uint32_t Y = 1;
constexpr uint32_t OUT = 2;
constexpr uint32_t INTERNAL = 3;

template <typename Param>
atb::Operation *Create(const Param &param) {
    atb::Operation *operation = nullptr;
    if (atb::CreateOperation(param, &operation) != atb::NO_ERROR) {
        throw std::runtime_error("an operation of a case is wrong");
    }
    return operation;
}

/// x + y in one node.
atb::GraphParam Good() {
    atb::GraphParam graph = MakeGraph(2, 1, 0);
    graph.nodes.push_back(MakeNode(Add(), {X, Y}, {OUT}));
    return graph;
}

/// swish(x) + y in two nodes.
atb::GraphParam TwoNodes() {
    atb::GraphParam graph = MakeGraph(2, 1, 1);
    graph.nodes.push_back(MakeNode(Swish(), {X}, {INTERNAL}));
    graph.nodes.push_back(MakeNode(Add(), {INTERNAL, Y}, {OUT}));
    return graph;
}

atb::GraphParam Named(const std::string &name) {
    atb::GraphParam graph = Good();
    graph.name = name;
    return graph;
}

atb::GraphParam ManyNodes(size_t count) {
    atb::GraphParam graph = Good();
    while (graph.nodes.size() < count) {
        graph.nodes.push_back(MakeNode(Add(), {X, Y}, {X}));
    }
    return graph;
}

atb::GraphParam With(atb::GraphParam graph, const std::function<void(atb::GraphParam &)> &change) {
    change(graph);
    return graph;
}

atb::GraphParam Reshaped(const atb::ReshapeFunc &function) {
    atb::GraphParam graph = Good();
    graph.nodes[0].inTensorReshapeFuncs = {nullptr, function};
    return graph;
}

atb::GraphParam Inferred(const atb::InferShapeFunc &function) {
    atb::GraphParam graph = TwoNodes();
    graph.inferShapeFunc = function;
    return graph;
}

atb::GraphParam Shared() {
    atb::GraphParam graph = TwoNodes();
    graph.nodes[1] = MakeNode(graph.nodes[0].operation, {INTERNAL}, {OUT});
    return graph;
}

atb::GraphParam InPlaceLinear() {
    atb::GraphParam graph = Good();
    graph.nodes.push_back(MakeNode(Linear(false), {X, Y}, {X}));
    return graph;
}

atb::GraphParam Nested() {
    atb::GraphParam inner = MakeGraph(2, 1, 0);
    inner.name = "inner";
    inner.nodes.push_back(MakeNode(Linear(false), {X, Y}, {OUT}));
    atb::GraphParam graph = TwoNodes();
    graph.nodes[1] = MakeNode(Create(inner), {INTERNAL, Y}, {OUT});
    return graph;
}

atb::GraphParam NestedInPlace() {
    // The inner graph writes its first input, which is an internal tensor of the outer one.
    atb::GraphParam inner = MakeGraph(2, 1, 0);
    inner.nodes.push_back(MakeNode(Add(), {X, Y}, {X}));
    inner.nodes.push_back(MakeNode(Swish(), {X}, {OUT}));
    atb::GraphParam graph = TwoNodes();
    graph.nodes[1] = MakeNode(Create(inner), {INTERNAL, Y}, {OUT});
    return graph;
}

atb::GraphParam AliasedCache() {
    atb::GraphParam graph = MakeGraph(5, 1, 1);
    graph.nodes.push_back(
        MakeNode(Create(atb::infer::ReshapeAndCacheParam()), {0, 1, 2, 3, 4}, {2, 6}));
    graph.nodes.push_back(MakeNode(Add(), {6, 3}, {5}));
    return graph;
}

using Graph = atb::GraphParam;

std::map<std::string, std::function<Graph()>> MakeCases() {
    return {
        {"good", Good},
        {"two", TwoNodes},
        {"nested", Nested},
        {"nested_in_place", NestedInPlace},
        {"cache", AliasedCache},
        {"shared", Shared},
        {"name", [] { return Named("a-b"); }},
        {"name_empty", [] { return Named(""); }},
        {"name_long", [] { return Named(std::string(129, 'a')); }},
        {"nodes_none", [] { return MakeGraph(2, 1, 0); }},
        {"nodes_1023", [] { return ManyNodes(1023); }},
        {"nodes_1024", [] { return ManyNodes(1024); }},
        {"inputs_257", [] { return With(Good(), [](Graph &g) { g.inTensorNum = 257; }); }},
        {"internals_257", [] { return With(Good(), [](Graph &g) { g.internalTensorNum = 257; }); }},
        {"operation_null",
         [] { return With(Good(), [](Graph &g) { g.nodes[0].operation = nullptr; }); }},
        {"operands", [] { return With(Good(), [](Graph &g) { g.nodes[0].inTensorIds = {X}; }); }},
        {"results",
         [] { return With(Good(), [](Graph &g) { g.nodes[0].outTensorIds = {OUT, X}; }); }},
        {"id", [] { return With(Good(), [](Graph &g) { g.nodes[0].inTensorIds = {X, 9}; }); }},
        {"id_out", [] { return With(Good(), [](Graph &g) { g.nodes[0].outTensorIds = {9}; }); }},
        {"read_early",
         [] { return With(TwoNodes(), [](Graph &g) { std::swap(g.nodes[0], g.nodes[1]); }); }},
        {"written_twice",
         [] {
             return With(TwoNodes(),
                         [](Graph &g) { g.nodes.push_back(MakeNode(Add(), {X, Y}, {INTERNAL})); });
         }},
        {"out_unwritten", [] { return With(Good(), [](Graph &g) { g.outTensorNum = 2; }); }},
        {"internal_unwritten",
         [] { return With(Good(), [](Graph &g) { g.internalTensorNum = 1; }); }},
        {"internal_unread",
         [] {
             return With(Good(), [](Graph &g) {
                 g.internalTensorNum = 1;
                 g.nodes.push_back(MakeNode(Swish(), {X}, {INTERNAL}));
             });
         }},
        {"chunks",
         [] { return With(Good(), [](Graph &g) { g.nodes[0].inTensorChunks = {{}, {}}; }); }},
        {"reshape_count",
         [] {
             return With(Good(), [](Graph &g) { g.nodes[0].inTensorReshapeFuncs = {nullptr}; });
         }},
        {"reshape_volume",
         [] {
             return Reshaped([](const atb::Dims &, atb::Dims &made) {
                 made.dimNum = 1;
                 made.dims[0] = 1;
             });
         }},
        {"reshape_unset",
         [] { return Reshaped([](const atb::Dims &, atb::Dims &made) { made.dimNum = 2; }); }},
        {"reshape_throws",
         [] {
             return Reshaped([](const atb::Dims &, atb::Dims &) {
                 throw std::out_of_range("no such dimension");
             });
         }},
        {"in_place_linear", InPlaceLinear},
        {"infer_shape",
         [] {
             return Inferred(
                 [](const atb::SVector<atb::TensorDesc> &ins, atb::SVector<atb::TensorDesc> &outs) {
                     outs.at(0) = ins.at(0);
                     outs.at(0).shape.dims[0] += 1;
                     return atb::NO_ERROR;
                 });
         }},
        {"infer_dtype",
         [] {
             return Inferred(
                 [](const atb::SVector<atb::TensorDesc> &ins, atb::SVector<atb::TensorDesc> &outs) {
                     outs.at(0) = ins.at(0);
                     outs.at(0).dtype = ACL_FLOAT16;
                     return atb::NO_ERROR;
                 });
         }},
        {"infer_unset",
         [] {
             return Inferred([](const atb::SVector<atb::TensorDesc> &,
                                atb::SVector<atb::TensorDesc> &) { return atb::NO_ERROR; });
         }},
        {"infer_status",
         [] {
             return Inferred([](const atb::SVector<atb::TensorDesc> &,
                                atb::SVector<atb::TensorDesc> &) -> atb::Status {
                 ATB_SPEED_LOG_ERROR("the layer is not " << "ready");
                 return atb::ERROR_INVALID_PARAM;
             });
         }},
    };
}

}  // namespace

atb::Operation *Swish() {
    atb::infer::ActivationParam param;
    param.activationType = atb::infer::ACTIVATION_SWISH;
    return Create(param);
}

atb::Operation *Add() {
    atb::infer::ElewiseParam param;
    param.elewiseType = atb::infer::ElewiseParam::ELEWISE_ADD;
    return Create(param);
}

atb::Operation *Linear(bool hasBias) {
    atb::infer::LinearParam param;
    param.hasBias = hasBias;
    return Create(param);
}

atb::Node MakeNode(atb::Operation *operation, std::initializer_list<uint32_t> ins,
                   std::initializer_list<uint32_t> outs) {
    atb::Node node;
    node.operation = operation;
    node.inTensorIds = ins;
    node.outTensorIds = outs;
    return node;
}

atb::GraphParam MakeGraph(uint32_t ins, uint32_t outs, uint32_t internals) {
    atb::GraphParam graph;
    graph.name = "g";
    graph.inTensorNum = ins;
    graph.outTensorNum = outs;
    graph.internalTensorNum = internals;
    return graph;
}

const std::map<std::string, std::function<atb::GraphParam()>> &Cases() {
    static const auto cases = MakeCases();
    return cases;
}

}  // namespace strict
}  // namespace atb_speed
