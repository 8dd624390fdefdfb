"""Losses on labels alone: what teachers are trained by, and the baselines of the comparison. From pytorch-metric-learning."""

import torch
from pytorch_metric_learning import distances, losses, miners, reducers
from torch import Tensor

from .base import Batch, Method, Widths


class TaskLoss(Method):
    """A loss of pytorch-metric-learning, with a miner where it has one."""

    kind = "none"
    needs = ("embedding", "labels")

    def use(self, criterion: losses.BaseMetricLossFunction, miner: miners.BaseMiner | None = None) -> None:
        self.criterion, self.mined = criterion, miner

    def of(self, embedding: Tensor, labels: Tensor) -> Tensor:
        """The loss of embeddings [n, d] with labels [n]."""
        return self.criterion(embedding, labels, self.mined(embedding, labels) if self.mined is not None else None)

    def forward(self, batch: Batch) -> Tensor:
        return self.of(batch.student.embedding, batch.labels)


def draw_triplets(labels: Tensor, weights: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Anchors, positives and negatives [t]: an anchor is in as many triplets as its class has rows.

    The same draws as of pytorch-metric-learning's `get_random_triplet_indices`, which looks rows up class by class: small heads would
    wait for little else. Here only the generator is asked so.

    Args:
        labels: [n].
        weights: [n, n], of each anchor's rows to be drawn as negatives, 0 within its class. An anchor without any has no triplet.
    """
    _, classes, counts = labels.unique(return_inverse=True, return_counts=True)
    class_by_class = classes.argsort(stable=True)
    rows, sizes = class_by_class[counts[classes[class_by_class]] > 1], counts[counts > 1]
    of_class = torch.arange(len(sizes), device=labels.device).repeat_interleave(sizes.square())  # [triplets]
    start = (sizes.cumsum(0) - sizes)[of_class]
    place = torch.arange(len(rows), device=labels.device).repeat_interleave(sizes.repeat_interleave(sizes))
    anchors = rows[place]

    kept = weights.sum(1)[anchors] > 0
    # Rows of other classes first, in their order.
    others = (labels[:, None] == labels).byte().argsort(dim=1, stable=True)
    offered = weights.gather(1, others)[anchors[kept]]
    drawn, others_drawn, behind = [rows.new_empty(0)], [rows.new_empty(0)], 0
    for size, count in zip(sizes.tolist(), of_class[kept].bincount(minlength=len(sizes)).tolist(), strict=True):
        drawn.append(torch.randint(size - 1, (size * size,)).to(labels.device))
        if count:
            others_drawn.append(offered[behind : behind + count, : len(labels) - size].multinomial(1).flatten())
            behind += count
    positive = torch.cat(drawn)
    # Any row of the class but the anchor's.
    positive += positive >= place - start
    negatives = others[anchors[kept], torch.cat(others_drawn)]
    return anchors[kept], rows[start + positive][kept], negatives


def log_inverse_density(apart: Tensor, d: int) -> Tensor:
    """Compute log 1 / q, up to a constant, of distances between points that are uniform on the sphere in d dimensions (Wu et al.)."""
    return (2 - d) * apart.log() - (d - 3) / 2 * (1 - apart.square() / 4).clamp(min=torch.finfo(apart.dtype).tiny).log()


class DistanceWeightedMiner(miners.DistanceWeightedMiner):
    """Negatives drawn by 1 / q(d), the density of distances d on the sphere, for anchors of any dimension.

    The miner of pytorch-metric-learning scales all anchors' weights by the largest of the batch. The exponent of q is the dimension: in
    float32, of 256 numbers and more, the weights of most anchors then vanish, and with them their triplets. Here each anchor's weights are
    scaled by its own largest. Where none vanish both draw the same.
    """

    def mine(
        self, embeddings: Tensor, labels: Tensor, ref_emb: Tensor, ref_labels: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        apart = self.distance(embeddings, ref_emb).clamp(min=self.cutoff)
        log_weights = log_inverse_density(apart, embeddings.shape[1])
        drawn = (labels[:, None] != ref_labels) & (apart < self.nonzero_loss_cutoff)
        log_weights = log_weights.masked_fill(~drawn, -torch.inf)
        weights = (log_weights - log_weights.amax(1, keepdim=True)).exp()
        # An anchor without such a negative has no triplet.
        return draw_triplets(labels, weights.nan_to_num(0.0))


class AuthorsMiner(DistanceWeightedMiner):
    """Negatives as the code of Park et al. 2019 draws them: one for each ordered pair of a class.

    An anchor's weights are scaled by the largest among all rows, those of its class and those beyond the cutoff of a nonzero loss
    included. Its class is near, so that in float32 the weights of the negatives often vanish, with a trained network and many
    dimensions: then any negative is drawn, as where all are beyond the cutoff.
    """

    def mine(
        self, embeddings: Tensor, labels: Tensor, ref_emb: Tensor, ref_labels: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        own = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
        apart = self.distance(embeddings, ref_emb).masked_fill(own, 1.0).clamp(min=self.cutoff)
        negative = labels[:, None] != ref_labels
        log_weights = log_inverse_density(apart, embeddings.shape[1])
        weights = (log_weights - log_weights.amax(1, keepdim=True)).exp() * (
            negative & (apart < self.nonzero_loss_cutoff)
        )
        weights = torch.where(weights.sum(1, keepdim=True) > 0, weights, negative.to(weights.dtype))
        anchors, positives = (~negative & ~own & negative.any(1, keepdim=True)).nonzero(as_tuple=True)
        return anchors, positives, weights[anchors].multinomial(1).flatten() if len(anchors) else anchors


class Triplet(TaskLoss):
    """Triplet loss with distance-weighted sampling of the negatives: the paper's teacher and baseline.

    The mean is over all sampled triplets, as in Park et al. 2019, not over those with a loss, as pytorch-metric-learning has it.
    Distances are of the embeddings as they are; sampling looks at their directions. An anchor with no negative below the cutoff of a
    nonzero loss has no triplet; Park et al. draw any negative for it, which `miner = "authors"` does.
    """

    name = "triplet"
    reference = (
        "Schroff et al., FaceNet, CVPR 2015; Wu et al., Sampling Matters, ICCV 2017 (cutoff 0.5, nonzero loss 1.4)"
    )
    is_random = True
    ranges = {"margin": (0.05, 0.8)}
    later = ("miner",)

    margin: float = 0.2
    cutoff: float = 0.5
    nonzero: float = 1.4
    miner: str = "ours"

    def build(self, student: Widths, teacher: Widths | None, classes: int) -> None:
        distance, reducer = distances.LpDistance(normalize_embeddings=False), reducers.MeanReducer()
        self.use(
            losses.TripletMarginLoss(margin=self.margin, distance=distance, reducer=reducer),
            MINERS[self.miner](cutoff=self.cutoff, nonzero_loss_cutoff=self.nonzero),
        )


MINERS = {"ours": DistanceWeightedMiner, "authors": AuthorsMiner}


class MultiSimilarity(TaskLoss):
    """Multi-similarity loss with its pair miner, at the defaults of pytorch-metric-learning; the authors' code has a beta of 40."""

    name = "multi-similarity"
    reference = "Wang et al., Multi-Similarity Loss with General Pair Weighting, CVPR 2019 (alpha 2, beta 50, base 0.5, epsilon 0.1)"

    alpha: float = 2.0
    beta: float = 50.0
    base: float = 0.5
    epsilon: float = 0.1

    def build(self, student: Widths, teacher: Widths | None, classes: int) -> None:
        self.use(
            losses.MultiSimilarityLoss(alpha=self.alpha, beta=self.beta, base=self.base),
            miners.MultiSimilarityMiner(epsilon=self.epsilon),
        )


class Contrastive(TaskLoss):
    """Contrastive loss on all pairs of the batch: distances and what is left to the margin, not their squares, over those pairs that have a
    loss."""

    name = "contrastive"
    reference = "Hadsell et al., Dimensionality Reduction by Learning an Invariant Mapping, CVPR 2006; margin 0.5 on normalised embeddings"

    margin: float = 0.5

    def build(self, student: Widths, teacher: Widths | None, classes: int) -> None:
        self.use(losses.ContrastiveLoss(pos_margin=0.0, neg_margin=self.margin))


class ProxyAnchor(TaskLoss):
    """Proxy-anchor loss: a learned proxy a class, with a rate of its own."""

    name = "proxy-anchor"
    reference = "Kim et al., Proxy Anchor Loss for Deep Metric Learning, CVPR 2020 (margin 0.1, alpha 32, proxies at 100 times the rate)"

    margin: float = 0.1
    alpha: float = 32.0
    proxy_rate: float = 100.0

    def build(self, student: Widths, teacher: Widths | None, classes: int) -> None:
        self.use(losses.ProxyAnchorLoss(classes, student.embedding, margin=self.margin, alpha=self.alpha))


class ArcFace(TaskLoss):
    """Additive angular margin softmax over the training classes."""

    name = "arcface"
    reference = "Deng et al., ArcFace, CVPR 2019 (margin 0.5 rad = 28.6 degrees, scale 64)"

    margin: float = 28.6
    scale: float = 64.0
    proxy_rate: float = 10.0

    def build(self, student: Widths, teacher: Widths | None, classes: int) -> None:
        self.use(losses.ArcFaceLoss(classes, student.embedding, margin=self.margin, scale=self.scale))


class FrozenFeatures(Method):
    """The features of a frozen trunk as they are, no head: what a head is held against. Of own vectors the teacher as well."""

    name = "features"
    kind = "none"
    reference = "control"
    trains = False
    has_head = False


class Untrained(Method):
    """No training: the student at step 0, pretrained trunk and fresh head. What distillation starts from."""

    name = "untrained"
    kind = "none"
    reference = "control"
    trains = False
    is_random = True
